"""`pas serve`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.display import say

if TYPE_CHECKING:
    from pas.models.loading import LoadedModel
    from pas.steering.intervention import Composition
    from pas.steering.vector import SteeringVector
    from serving.vectors import Vectors


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", help=serve.__doc__)(serve)


def serve(
    vectors: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VECTOR]...",
            help="NAME, NAME@alias or NAME:version of the registry, or a folder that holds a "
            "vector. The first one's model is served. All vectors of the registry that fit it can "
            "be asked for.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="demo, hub id, local folder or GGUF file to serve.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name that requests call the model by; its own by default.")
    ] = None,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for a free one.", min=0, max=65535)] = 8000,
    api_keys: Annotated[
        Path | None,
        typer.Option(help="File with API keys, one a line; also the variable PAS_API_KEYS."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Continuations that are generated together.")
    ] = 16,
    queue_size: Annotated[
        int, typer.Option(min=0, help="Continuations that may wait; more are answered 429.")
    ] = 256,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest continuation that may be asked for.")
    ] = 2048,
    max_prompt_tokens: Annotated[int, typer.Option(min=1, help="Longest prompt.")] = 8192,
    max_body: Annotated[int, typer.Option(min=1, help="Largest request in bytes.")] = 1 << 20,
    poll: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks for promotions.")
    ] = 5.0,
    drain: Annotated[
        float, typer.Option(min=1, help="Seconds that requests may take to end after SIGTERM.")
    ] = 30.0,
) -> None:
    """Serve a model with OpenAI's interface; each request chooses vectors and strengths.

    pas serve pas-smollm2-135m-instruct-demo

    pas serve --model Qwen/Qwen3-8B --host 0.0.0.0 --api-keys keys.txt

    A request for the model BASE@pas-...@champion*1.5 is steered; one for BASE is not. The page at /
    shows both side by side. docs/serving.md has the interface.
    """
    from flows.cli.session import begin
    from pas.errors import UserError

    begin(with_server=False)
    import logging

    from pas.decoding.scheduler import Scheduler
    from serving import run
    from serving.access import read_keys
    from serving.app import Service
    from serving.prompts import Limits
    from storage.settings import settings

    keys = read_keys(settings().api_keys, api_keys)
    if not keys and host not in run.LOOPBACK:
        raise UserError(
            f"--host {host}: others can reach it, so give API keys (--api-keys FILE or "
            "PAS_API_KEYS), or listen on 127.0.0.1"
        )
    listener = run.listen(host, port)
    loaded, offered = load_served(vectors or [], model)
    access = logging.getLogger("pas.access")
    access.propagate = False
    access.setLevel(logging.INFO)
    access.handlers = [logging.StreamHandler(sys.stderr)]
    scheduler = Scheduler(loaded, batch_size, queue_size)
    scheduler.start()
    offered.watch(poll)
    service = Service(
        loaded,
        name or loaded.spec.slug,
        scheduler,
        offered,
        Limits(max_prompt_tokens, max_new_tokens, batch_size),
        keys,
        max_body,
    )
    address, number = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address

    def started() -> None:
        say(f"{service.base} at http://{shown}:{number} with {len(offered.offered)} vectors")
        for reference in sorted(offered.offered):
            say(f"  {service.base}@{reference}")

    run.serve(service, listener, drain, started)


def load_served(references: list[str], model: str | None) -> "tuple[LoadedModel, Vectors]":
    """Load the model, and find the vectors that were named.

    Args:
        references: Vectors of the registry, and folders.
        model: The model; that of the first vector by default.

    Raises:
        UserError: If there is nothing that says which model, or a vector is not there or does not
            fit.
    """
    from flows.cli.references import named
    from pas.errors import UserError
    from pas.evidence.calibration import CALIBRATION_FILE, read_calibration
    from pas.models.spec import ModelSpec
    from pas.steering.compatibility import require_fit
    from pas.steering.intervention import interventions_of
    from serving.vectors import Vectors, reference_of
    from storage.settings import settings
    from tasks import resources

    folders: dict[str, Composition] = {}
    calibrated: dict[str, float] = {}
    of_vectors: list[SteeringVector] = []
    for reference in references:
        steering, _, path = named(reference)
        composition = interventions_of(steering)
        of_vectors += [one.vector for one in composition]
        if path is not None:
            name = reference_of(reference)
            folders[name] = composition
            if (path / CALIBRATION_FILE).is_file():
                calibrated[name] = read_calibration(path, of_vectors[-1])
    if model is not None:
        spec = ModelSpec(model)
    elif of_vectors:
        spec = of_vectors[0].model
    else:
        raise UserError("give a vector, whose model is then served, or --model")
    registry = resources.registry() if settings().has_registry else None
    loaded = resources.model(spec)
    for vector in of_vectors:
        require_fit(vector, loaded)
    return loaded, Vectors(loaded, registry, folders, calibrated)
