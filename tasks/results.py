"""Results of a study's cells, kept in the lake for its next run."""

import json

import pyarrow as pa

from pas.reading import mapped, take_in
from pas.recipe import Recipe
from pas.study.plan import StudyCell
from pas.study.results import StudyResult
from storage.lake.stages import Stage, stage
from storage.lake.verification import intact
from tasks import resources
from tasks.load import split_stage
from tasks.origin import fields_that_matter

_VERSION = 1  # of what a result holds


def result_stage(cell: StudyCell) -> Stage:
    """Return where a cell's result is stored: the same for the same data and model.

    Raises:
        UserError: If the data or the model cannot be read.
    """
    return stage(
        resources.lake(),
        "results",
        version=_VERSION,
        setting=cell.setting,
        **_content(cell.recipe),
        tuning=cell.tuning.__dict__ if cell.tuning else None,
        target=_content(cell.target) if cell.target else None,
        strengths=cell.strengths,
    )


def _content(recipe: Recipe) -> dict[str, object]:
    """Return what a recipe stands for: the split's address stands for the data's content."""
    taken = take_in(recipe)
    recipe = mapped(recipe, taken)
    return {
        "split": split_stage(recipe, taken).address,
        "model": resources.resolved(recipe).fingerprint,
        "recipe": fields_that_matter(recipe),
    }


def write_result(where: Stage, result: StudyResult) -> None:
    """Keep a cell's result for the next run of the study."""
    table = pa.table({"result": [json.dumps(result.as_dict())]})
    resources.lake().write_table(where.address, table, where.metadata)


def read_result(where: Stage) -> StudyResult | None:
    """Return what `write_result` kept, or None."""
    lake = resources.lake()
    if not intact(lake, where.address):
        return None
    return StudyResult.from_dict(json.loads(lake.read_table(where.address)["result"][0].as_py()))
