"""Results of a study's cells, kept in the lake for its next run."""

import json

import pyarrow as pa

from pas.recipe import Recipe
from pas.study.plan import StudyCell
from pas.study.results import StudyResult
from storage.lake.stages import stage_address
from tasks import resources
from tasks.load import read_examples, split_address

_VERSION = 1  # of what a result holds


def result_address(cell: StudyCell) -> str:
    """Return where a cell's result lies, or will: the same for the same data and model.

    Raises:
        UserError: If the data or the model cannot be read.
    """
    tuning = cell.tuning.__dict__ if cell.tuning else None
    target = _content(cell.target) if cell.target else None
    return stage_address(
        resources.lake(), "results", _VERSION, cell.setting, _content(cell.recipe), tuning, target,
        cell.strengths,
    )  # fmt: skip


def _content(recipe: Recipe) -> list[object]:
    """Return what a recipe stands for: the split's address stands for the data's content."""
    fields = recipe.as_dict() | {"data": None}
    if recipe.protocol == "paper":
        del fields["max_kl"]  # without effect there, so results from before the field are found
    fingerprint = resources.model_info(recipe.spec).fingerprint
    return [split_address(recipe, read_examples(recipe)), fingerprint, fields]


def write_result(address: str, result: StudyResult) -> None:
    """Keep a cell's result for the next run of the study."""
    text = json.dumps(result.as_dict())
    resources.lake().write_table(address, pa.table({"result": [text]}))


def read_result(address: str) -> StudyResult | None:
    """Return what `write_result` kept, or None."""
    lake = resources.lake()
    if not lake.exists(address):
        return None
    return StudyResult.from_dict(json.loads(lake.read_table(address)["result"][0].as_py()))
