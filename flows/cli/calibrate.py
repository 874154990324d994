"""`pas calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.display import Json, print_json, print_table, say
from flows.cli.references import Reference

if TYPE_CHECKING:
    from pas.evidence.calibration import Calibration


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate", help=calibrate.__doc__)(calibrate)


def calibrate(
    reference: Reference,
    budget: Annotated[
        float, typer.Option(help="Largest damage to neutral text, in nats per token.")
    ] = 0.1,
    instruction: Annotated[
        list[str] | None,
        typer.Option(help="Text that asks for the behaviour, to compare with; may be repeated."),
    ] = None,
    shots: Annotated[
        int, typer.Option(min=0, help="Worked examples to compare with; 0 for none.")
    ] = 3,
    json: Json = False,
) -> None:
    """Find the strongest strength whose damage to neutral text stays within a budget.

    pas calibrate pas-smollm2-135m-instruct-demo --instruction "Answer cheerfully."

    Behaviour is measured on the validation items, and asking for it in words on the test items,
    alone and with the vector. The result is stored with the version: pas steer takes --strength
    auto, and requests to pas serve NAME*auto. A folder has no items, so only damage is measured.
    """
    from flows.cli.session import begin, check_stores
    from pas.errors import UserError
    from pas.files import existing

    if not budget > 0:
        raise UserError(f"--budget {budget}: give a positive number of nats per token")
    folder = existing(reference)
    if folder is not None and folder.is_dir():
        begin(with_server=False)
        _calibrate_folder(folder, budget, json)
        return
    check_stores()
    begin(with_server=False)
    from tasks.calibrate import as_row, calibrate_version

    found = calibrate_version(reference, budget, instruction or [], shots)
    if json:
        print_json(
            found.calibration.as_dict()
            | {"name": found.version.name, "version": found.version.version}
            | {"asking": [as_row(one) for one in found.asking]}
        )
        return
    _show(f"{found.version.name} version {found.version.version}", found.calibration, found.own)
    if found.asking:
        rows = [
            (
                one.how,
                f"{one.asked.baseline_accuracy:.3f}",
                f"{one.asked.steered_accuracy:.3f}",
                f"{one.both.steered_accuracy:.3f}",
                f"{one.both.p_value:.2g}",
            )
            for one in found.asking
        ]
        print_table(
            f"Asking for it in words, on {found.asking[0].asked.n} test items",
            ("how", "unsteered", "asked", "asked and steered", "p, steering adds"),
            rows,
        )


def _calibrate_folder(folder: Path, budget: float, json: bool) -> None:
    from pas.evidence.calibration import calibrate as run
    from pas.steering.vector import SteeringVector
    from tasks import resources

    vector = SteeringVector.load(folder)
    found = run(resources.model(vector.model), vector, budget=budget)
    found.save(folder)
    if json:
        print_json(found.as_dict())
    else:
        _show(folder.name, found, vector.strength)


def _show(title: str, found: "Calibration", own: float) -> None:
    rows = [
        (
            f"{p.strength:g}" + (" (its own)" if p.strength == own else ""),
            "" if p.accuracy != p.accuracy else f"{p.accuracy:.3f}",
            f"{p.kl:.3f}",
            f"{p.kl_p95:.3f}",
            f"{p.perplexity:.1f}",
            f"{p.repetition:.2f}",
        )
        for p in found.points
    ]
    print_table(
        title,
        ("strength", "accuracy", "damage", "95 % of tokens", "perplexity", "repetition"),
        rows,
    )
    say(
        f"auto: strength {found.strength:.4g}, damage {found.kl:.3f} of {found.budget:g} nats per "
        "token"
    )
