"""`pas judge`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.display import Json, print_json, print_table, say
from flows.cli.references import Reference

if TYPE_CHECKING:
    from pas.evidence.pairs import Judge
    from pas.models.loading import LoadedModel
    from storage.registry.versions import VectorVersion

_BUILT_IN = ("length", "repetition", "fluency", "refusal")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("judge", help=judge.__doc__)(judge)


def judge(
    reference: Reference,
    prompts: Annotated[
        Path | None, typer.Option(help="File with the prompts to continue, one a line.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="length (longer wins), repetition (less wins), fluency (lower perplexity under "
            "the unsteered model wins), refusal (a refusal wins), MODULE:FUNCTION, or the URL of "
            "an OpenAI-compatible interface; may be repeated."
        ),
    ] = None,
    criterion: Annotated[
        str, typer.Option(help='What a model behind a URL is asked: "Which one ...?"')
    ] = "is better",
    judge_model: Annotated[str, typer.Option(help="Name of the model behind a URL.")] = "judge",
    strength: Annotated[
        list[float] | None, typer.Option(help="Factor on the vector; may be repeated.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of each text.")] = 100,
    csv: Annotated[
        Path | None, typer.Option(help="Write blind pairs for people to this file.")
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option(help="Read what people wrote into the column better.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order in each pair.")] = 0,
    json: Json = False,
) -> None:
    """Compare texts with and without a vector, blind: how often is the steered one better.

    pas judge pas-smollm2-135m-instruct-demo --prompts prompts.txt --by length --by fluency

    pas judge NAME --prompts prompts.txt --by http://127.0.0.1:8000/v1 --criterion "is kinder"

    pas judge NAME --prompts prompts.txt --csv pairs.csv, then pas judge NAME --verdicts pairs.csv

    PAS_JUDGE_KEY holds the API key of a URL. Results of a registered vector are kept with its run
    and on its page.
    """
    from flows.cli.references import named
    from pas.errors import UserError

    if verdicts is not None:
        _people(reference, verdicts, json)
        return
    if prompts is None or not (by or csv):
        raise UserError("give --prompts FILE with --by or --csv, or --verdicts FILE")
    if csv is not None and len(strength or []) > 1:
        raise UserError("--csv: give one --strength, for one file of pairs")
    texts = _lines(prompts)
    steering, version, _ = named(reference)
    from pas.evidence.blind_csv import write_pairs
    from pas.evidence.pairs import judged, pairs_of, win_rate
    from pas.steering.vector import SteeringVector
    from tasks import resources

    vector = steering if isinstance(steering, SteeringVector) else steering.interventions[0].vector
    model = resources.model(vector.model)
    judges = {name: _judge(name, model, criterion, judge_model) for name in by or []}
    rows: list[dict[str, Any]] = []
    factors: list[float | None] = [*(strength or [])] or [None]
    for factor in factors:
        pairs = pairs_of(
            model, steering, texts, strength=factor, max_new_tokens=max_new_tokens, seed=seed
        )
        used = (vector.strength if steering is vector else 1.0) if factor is None else factor
        if csv is not None:
            key = write_pairs(pairs, used, csv)
            say(f"pairs: {csv}; keep {key.name} from those who judge")
        rows += [
            {"by": name, "strength": used} | win_rate(pairs, judged(pairs, one))._asdict()
            for name, one in judges.items()
        ]
    _keep(version, rows)
    _show(rows, json)


def _lines(file: Path) -> list[str]:
    from flows.cli.read import lines_of
    from pas.errors import UserError

    lines = lines_of(file, "--prompts")
    if not lines:
        raise UserError(f"--prompts {file}: it is empty; write one prompt a line")
    return lines


def _people(reference: str, file: Path, json: bool) -> None:
    from flows.cli.references import named
    from pas.evidence.blind_csv import read_verdicts
    from pas.evidence.pairs import win_rate

    found = read_verdicts(file)
    rate = win_rate(found.pairs, found.choices)
    rows = [{"by": "people", "strength": found.strength} | rate._asdict()]
    _keep(named(reference).version, rows)
    _show(rows, json)


def _keep(version: "VectorVersion | None", rows: list[dict[str, Any]]) -> None:
    if version is None or not rows:
        return
    from storage.registry.judgements import log_judgements
    from tasks import resources
    from tasks.reports.later import show_judgements

    log_judgements(resources.registry(), version, rows)
    show_judgements(version)


def _judge(name: str, model: "LoadedModel", criterion: str, judge_model: str) -> "Judge":
    from pas.errors import UserError
    from pas.evidence import judges
    from storage.settings import settings
    from tasks.judges import by_endpoint

    match name:
        case "length" | "repetition" | "refusal":
            return judges.by_score(getattr(judges, name), name)
        case "fluency":
            return judges.by_score(judges.fluency(model), name)
        case _ if "://" in name:
            return by_endpoint(name, judge_model, criterion, settings().judge_key)
        case _ if ":" in name:
            return judges.by_function(name)
    raise UserError(f"--by {name}: give {', '.join(_BUILT_IN)}, MODULE:FUNCTION or a URL")


def _show(rows: list[dict[str, Any]], json: bool) -> None:
    if json:
        print_json(rows)
        return
    shown = [
        (
            row["by"],
            row["strength"],
            f"{row['wins']} of {row['n']}",
            row["n"] - row["wins"] - row["losses"],
            f"{row['rate']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
            f"{row['p_value']:.2g}",
        )
        for row in rows
    ]
    if shown:
        header = ("judged by", "strength", "steered better", "ties", "win rate, 95 %", "p")
        print_table("Steered against unsteered", header, shown)
