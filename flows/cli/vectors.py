"""`pas promote`, `pas rollback`, `pas vectors`, `pas steer` and `pas registry`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from flows.cli import registry
from flows.cli.display import Json, Verbose, print_checks, print_json, print_table, say
from flows.cli.references import Reference

if TYPE_CHECKING:
    from pas.data.chat import Message
    from pas.steering.operations import Operation
    from storage.registry.versions import VectorVersion

REFUSED = 1
_Name = Annotated[str, typer.Argument(help="Registered model, such as pas-<model>-<task>.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("promote", help=promote.__doc__)(promote)
    app.command("rollback", help=rollback.__doc__)(rollback)
    app.command("vectors", help=vectors.__doc__)(vectors)
    app.command("steer", help=steer.__doc__)(steer)
    registry.add_to(app)


def promote(
    name: _Name,
    version: Annotated[int | None, typer.Option(help="The candidate by default.")] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="A finding to accept although it fails, such as damaging."),
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Why it is accepted; kept in the record and on the version.")
    ] = "",
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a candidate champion if its gain is real and it beats the champion.

    Every check of the verdict must pass; otherwise nothing changes and the exit code is 1.

    pas promote pas-smollm2-135m-instruct-demo

    A team may accept a finding for a stated reason:

    pas promote pas-smollm2-135m-instruct-demo --accept damaging --reason "internal use only"
    """
    from flows.cli.session import begin, call

    begin(verbose=verbose)
    from tasks.promote import find_candidate

    find_candidate(name, version)  # a wrong name is told before a server is started for nothing
    from flows.promote import promote as run

    decision = call(run, name, version, tuple(accept or ()), reason)
    if json:
        findings = [finding._asdict() for finding in decision.findings]
        overrule = decision.overrule._asdict()
        print_json(decision._asdict() | {"findings": findings, "overrule": overrule})
    else:
        show_decision(decision)
    if not (decision.promoted or decision.unchanged):
        sys.exit(REFUSED)


def show_decision(decision: Any) -> None:
    """Print what was decided and why."""
    if decision.unchanged:
        say(f"{decision.name}: the champion already holds the vector of version {decision.version}")
        return
    print_checks(f"Checks of version {decision.version}: {decision.label}", decision.findings)
    if decision.promoted:
        instead = f" in place of version {decision.replaced}" if decision.replaced else ""
        say(f"{decision.name}: version {decision.version} is champion{instead}")
    else:
        failed = ", ".join(finding.check for finding in decision.refused)
        say(f"{decision.name}: version {decision.version} was refused ({failed}); nothing changed")


def rollback(name: _Name, json: Json = False, verbose: Verbose = False) -> None:
    """Make the previous champion champion again; a second rollback undoes the first."""
    from flows.cli.session import begin, call

    begin(verbose=verbose)
    from storage.registry.versions import find_model
    from tasks import resources

    find_model(resources.registry(), name)
    from flows.promote import rollback as run

    done = call(run, name)
    if json:
        print_json(done._asdict())
    else:
        say(f"{name}: version {done.version} is champion in place of version {done.replaced}")


def vectors(
    name: Annotated[
        str | None, typer.Argument(help="Show only this vector, with its promotion history.")
    ] = None,
    json: Json = False,
) -> None:
    """List the registered vectors: aliases, verdict, method, layer and strength, test accuracy."""
    from storage.registry.server import check_server
    from storage.settings import settings

    store = settings().open_registry()
    check_server(store)
    from storage.registry.client import MOVED
    from storage.registry.move import moved_from
    from storage.registry.records import history
    from storage.registry.versions import find_model, list_versions, stale_aliases

    if name is not None:
        find_model(store, name)
    found = [v for v in list_versions(store) if name in (None, v.name)]
    past = history(store, name) if name is not None else []
    if json:
        rows = [v._asdict() for v in found]
        decisions = [record.as_dict() for record in past]
        print_json({"versions": rows, "history": decisions} if name is not None else rows)
        return
    print_table(
        "Vectors",
        ("vector", "aliases", "verdict", "steering", "accuracy", "made"),
        [
            (
                f"{v.name}:{v.version}",
                ", ".join(v.aliases),
                v.verdict,
                _steering(v.tags),
                _accuracies(v),
                f"{v.created:%Y-%m-%d}",
            )
            for v in found
        ],
        unfolded=("vector", "steering", "accuracy", "made"),
    )
    if past:
        print_table(
            "Decisions",
            ("time", "version", "decision"),
            [(f"{r.time[:10]} {r.time[11:16]}", r.version, r.sentence) for r in past],
            unfolded=("time",),
        )
    if old := moved_from(store):
        say(f"note: the database has the artifacts of this home in {old[0]}. {MOVED}")
    for stale in stale_aliases(store):
        if name in (None, stale.name):
            say(f"note: {stale.problem}")


def _steering(tags: dict[str, str]) -> str:
    """Return method, layer and strength: `ipaswo 12 x2`."""
    method, layer, strength = (tags.get(name, "?") for name in ("method", "layer", "strength"))
    return f"{method} {layer} x{strength}"


def _accuracies(version: "VectorVersion") -> str:
    """Return the test accuracies without and with the vector: `.758 → .883`."""
    return " → ".join(
        "?" if a is None else f"{a:.3f}".removeprefix("0") for a in version.accuracies
    )


def steer(
    reference: Reference,
    prompt: Annotated[
        str | None,
        typer.Argument(help="Text to continue, or to answer if the vector is for chat prompts."),
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option(help="JSON file with a conversation instead: a list of role and content."),
    ] = None,
    strength: Annotated[
        str | None,
        typer.Option(
            help="Factor on the vector; its own by default, 0 for none, auto for the one that pas "
            "calibrate found."
        ),
    ] = None,
    positions: Annotated[
        str, typer.Option(help="What is steered: generated, all, prompt or first:N.")
    ] = "generated",
    operation: Annotated[
        str, typer.Option(help="What is done: add, add-keep-norm, ablate or clamp.")
    ] = "add",
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the unsteered continuation too.")
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the continuation.")] = 60,
    json: Json = False,
) -> None:
    """Generate text with a vector.

    pas steer pas-smollm2-135m-instruct-demo "Customer: Where is my parcel?" --compare

    The text is rendered as those that the vector was trained on: plain, or as the user's message in
    the model's chat template.
    """
    from flows.cli.references import named, strength_of
    from pas.errors import UserError

    if (prompt is None) == (messages is None):
        raise UserError("give a text to continue, or --messages FILE")
    request = _conversation(messages) if messages else prompt
    assert request is not None
    found = named(reference)
    from pas.steering.generate import generate
    from pas.steering.intervention import Composition, Intervention, interventions_of
    from tasks import resources

    used = strength_of(strength, found)
    done = cast("Operation", operation)  # an intervention refuses any other word
    if isinstance(found.steering, Composition):
        if (positions, operation) != ("generated", "add"):
            raise UserError(f"{reference}: a composition has positions and operations of its own")
        applied = found.steering
    elif operation != "add" and strength is None:
        applied = interventions_of(Intervention(found.steering, None, positions, done))
        [one] = applied
        used = one.strengths[0]
    else:
        applied = interventions_of(Intervention(found.steering, used, positions, done))
    factor = used if isinstance(found.steering, Composition) else 1.0
    [first, *_] = applied
    model = resources.model(first.vector.model)
    if model.fingerprint != first.vector.fingerprint:
        say("note: the model or its libraries changed since training; the effect may differ")
    factors = ({"unsteered": 0.0} if compare else {}) | {"steered": factor}
    texts = {
        kind: generate(model, request, applied, strength=scale, max_new_tokens=max_new_tokens)
        for kind, scale in factors.items()
    }
    name, version = (
        (found.version.name, found.version.version) if found.version else (reference, None)
    )
    if json:
        print_json(
            {"name": name, "version": version, "strength": used}
            | {"prompt" if messages is None else "messages": request}
            | texts
        )
    elif compare:
        rows = [(kind, text.strip()) for kind, text in texts.items()]
        title = f"{name}{f' version {version}' if version else ''}, strength {used:g}"
        print_table(title, ("", "continuation"), rows)
    else:
        sys.stdout.write(texts["steered"].strip() + "\n")


def _conversation(file: Path) -> "list[Message]":
    """Read a conversation from a JSON file.

    Raises:
        UserError: If the file cannot be read, or is not a conversation.
    """
    import json

    from pas.data.chat import read_messages
    from pas.errors import UserError

    try:
        return read_messages(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--messages {file}: cannot be read as JSON ({error})") from error
    except UserError as error:
        raise UserError(f"--messages {file}: {error}") from error
