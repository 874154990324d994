"""What a study's report shows of single trainings: their sweeps, and answers that flipped."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from pas.data.examples import Example
from pas.methods.answers import Answers
from pas.methods.contrast import RANDOM
from pas.methods.grid import Cell, Configuration
from pas.study.results import StudyResult
from storage.lake.tables import table_address
from storage.lake.verification import intact
from tasks import resources
from tasks.answers import TEST, VALIDATION, run_answers
from tasks.reports.flips import Flips, flips

_READ = ("sweeps", "predictions", "items")
_SHOWN = 3  # flips of a kind and pair of model and task


class PairRuns(NamedTuple):
    """Trainings of one model and task, all seeds of the main setting together.

    Attributes:
        cells: Validation answers of every configuration that all seeds swept; effect is 0.
        baseline: Unsteered validation accuracy, mean over items.
        flips: Of the first seed: from wrong to right, and from right to wrong.
        seed: Which that is.
    """

    cells: list[Cell]
    baseline: float
    flips: tuple[Flips, Flips]
    seed: int


def gather(results: Sequence[StudyResult]) -> dict[tuple[str, str], PairRuns]:
    """Read the run tables of the main trainings; a run whose tables are gone is left out."""
    lake = resources.lake()
    pairs: dict[tuple[str, str], list[StudyResult]] = {}
    for result in results:
        kept = bool(result.run_id) and all(
            intact(lake, table_address(lake, name, result.run_id)) for name in _READ
        )
        if result.setting == "main" and not result.failed and kept:
            pairs.setdefault((result.model, result.task), []).append(result)
    return {pair: _pair_runs(group) for pair, group in pairs.items()}


def _pair_runs(group: Sequence[StudyResult]) -> PairRuns:
    lake = resources.lake()
    counts: dict[Configuration, list[tuple[int, int]]] = {}
    unsteered = []
    for result in group:
        for row in lake.read_table(table_address(lake, "sweeps", result.run_id)).to_pylist():
            at = Configuration(row["method"], row["layer"], row["strength"])
            counts.setdefault(at, []).append((row["n"], row["correct"]))
        unsteered += _answers(result)[VALIDATION].correct().tolist()
    cells = [
        Cell(at, sum(n for n, _ in found), sum(right for _, right in found), 0.0)
        for at, found in counts.items()
        if len(found) == len(group)
    ]
    return PairRuns(cells, sum(unsteered) / len(unsteered), _flips(group[0]), group[0].seed)


def _flips(result: StudyResult) -> tuple[Flips, Flips]:
    lake = resources.lake()
    items = lake.read_table(table_address(lake, "items", result.run_id)).to_pylist()
    # The table holds prompts as they were read: as questions alone they come out as they are.
    test = [
        Example(i["item_id"], i["prompt"], tuple(i["choices"]), i["label"], i["group_id"])
        for i in items
        if i["split"] == "test"
    ]
    at = Configuration(result.method, result.layer, result.strength)
    return flips(test, _answers(result)[TEST], at, "choice", _SHOWN)


def _answers(result: StudyResult) -> dict[str, Answers]:
    lake = resources.lake()
    return run_answers(
        *(
            lake.read_table(table_address(lake, name, result.run_id))
            for name in ("predictions", "items")
        )
    )


def best_method(runs: PairRuns) -> str:
    """Return the estimator with the highest validation accuracy over all seeds."""
    cells = [c for c in runs.cells if c.configuration.method != RANDOM]
    return max(
        cells, key=lambda c: (c.correct / c.n, -c.configuration.strength)
    ).configuration.method


def curves_of(
    results: Sequence[StudyResult],
) -> Mapping[str, Mapping[tuple[str, str], Mapping[float, tuple[float, float]]]]:
    """Return the forgetting study's curves: target -> (model, task) -> strength -> means.

    The means over seeds are of the change in accuracy on the target, each seed's against its own
    unsteered accuracy, and of the divergence on neutral text.
    """
    found: dict[str, dict[tuple[str, str], dict[float, list[tuple[float, float]]]]] = {}
    for r in results:
        if r.setting != "forgetting" or r.failed:
            continue
        lines = found.setdefault(r.variant, {}).setdefault((r.model, r.task), {})
        for point in r.curve:
            change = point.accuracy - r.baseline_accuracy
            lines.setdefault(point.strength, []).append((change, point.neutral_kl))
    return {
        target: {
            pair: {
                strength: (fmean([a for a, _ in seeds]), fmean([kl for _, kl in seeds]))
                for strength, seeds in sorted(line.items())
            }
            for pair, line in pairs.items()
        }
        for target, pairs in found.items()
    }
