"""What a training would take, counted before a model is loaded."""

from collections.abc import Sequence
from typing import NamedTuple

from pas.data.splits import Split
from pas.engine.scoring import Query
from pas.engine.trie import Tokens, packs, trie_size
from pas.finetune.training import target
from pas.intake.items import Intake
from pas.reading import mapped, take_in
from pas.recipe import Recipe
from pas.study.plan import StudyCell
from tasks import resources
from tasks.asking import ways_of
from tasks.extract import Plan, plan, question
from tasks.load import load_split
from tasks.scorable import scorable

_PACK = 2048  # tokens of a forward pass; how they are cut changes little


class Forecast(NamedTuple):
    """The size of a training.

    Attributes:
        items: Per split.
        prompts: Distinct prompts whose activations are needed.
        prompts_cached: Of these, how many are in the lake.
        shards: Shards to be written.
        bytes: Their size before compression.
        configurations: Cells of the sweep.
        tokens: Tokens to run through the whole model, those that prompts share counted once.
        steered_rows: Steered tokens of the sweep, each through part of the model.
        teraflops: Rough floating-point work, 2 a parameter and token.
    """

    items: dict[str, int]
    prompts: int
    prompts_cached: int
    shards: int
    bytes: int
    configurations: int
    tokens: int
    steered_rows: int
    teraflops: float

    def rows(self) -> list[tuple[str, str]]:
        """Return the forecast for people."""
        parts = ", ".join(f"{n} {name}" for name, n in self.items.items())
        return [
            ("items", parts),
            ("prompts to have activations of", f"{self.prompts:,}"),
            ("of these cached", f"{self.prompts_cached:,}"),
            ("shards to write", f"{self.shards:,} ({self.bytes / 1e6:,.1f} MB)"),
            ("configurations to sweep", f"{self.configurations:,}"),
            ("tokens through the whole model", f"{self.tokens:,}"),
            ("steered positions", f"{self.steered_rows:,}"),
            ("work", f"about {self.teraflops:,.1f} TFLOP"),
        ]


def forecast(recipe: Recipe, taken: Intake | None = None) -> Forecast:
    """Read and check the data and the tokenizer, and count.

    Args:
        recipe: What to train.
        taken: Its data, if they have been read.

    Raises:
        UserError: For every mistake that can be found without running the model.
    """
    taken = taken or take_in(recipe)
    recipe = mapped(recipe, taken)
    parts, _ = scorable(recipe, load_split(recipe, taken.examples))
    todo = plan(recipe, parts.train)
    told = [way.items for way in ways_of(recipe, parts)]
    asked = [[question(recipe, e) for e in part] for part in (parts.val, parts.test, *told)]
    setup = resources.resolved(recipe)
    directions = len(recipe.methods) * len(setup.write_layers)
    rows = _steered(asked[0]) * directions * sum(s != 0 for s in setup.strengths)
    whole = sum(map(_held, asked)) + todo.tokens
    return Forecast(
        items={name: len(part) for name, part in zip(Split._fields, parts, strict=True)},
        prompts=todo.total,
        prompts_cached=todo.cached,
        shards=len(todo.shards),
        bytes=_bytes(recipe, todo),
        configurations=directions * len(setup.strengths),
        tokens=whole,
        steered_rows=rows,
        teraflops=_teraflops(recipe, whole, rows),
    )


def forecast_cell(cell: StudyCell) -> Forecast:
    """Count what a cell of a study would take if it were the only one.

    For "sft" the fine-tuning is counted too, a backward pass as two forward passes. "forgetting"
    has no training: it counts the other task's test items under every strength.

    Raises:
        UserError: As `forecast`.
    """
    if cell.target is not None:
        taken = take_in(cell.target)
        target_recipe = mapped(cell.target, taken)
        parts = load_split(target_recipe, taken.examples)
        asked = [question(target_recipe, e) for e in parts.test]
        tried = len(cell.strengths) + 1
        tokens, rows = _held(asked), _steered(asked) * tried
        work = _teraflops(cell.recipe, tokens, rows)
        return Forecast({"test": len(asked)}, 0, 0, 0, 0, tried, tokens, rows, work)
    taken = take_in(cell.recipe)
    recipe = mapped(cell.recipe, taken)
    found = forecast(recipe, taken)
    if cell.tuning is None:
        return found
    parts = load_split(recipe, taken.examples)
    info, rule = resources.model_info(recipe.model), resources.resolved(recipe).rule
    taught = [len(target(info, e, rule).token_ids) for e in parts.train]
    tokens = found.tokens + 3 * sum(taught) * cell.tuning.items_seen(len(taught)) // len(taught)
    return found._replace(tokens=tokens, teraflops=_teraflops(recipe, tokens, found.steered_rows))


def _units(asked: Sequence[Query]) -> list[list[Tokens]]:
    return [[t.token_ids for t in q.sequences] for q in asked]


def _held(asked: Sequence[Query]) -> int:
    """Return the tokens that questions run through the whole model, shared ones once."""
    return sum(cut.tokens for cut in packs(_units(asked), _PACK))


def _steered(asked: Sequence[Query]) -> int:
    """Return the steered tokens of the questions under one configuration."""
    return sum(
        trie_size(unit) - len(unit[0]) + q.sequences[0].n_steered
        for unit, q in zip(_units(asked), asked, strict=True)
    )


def _teraflops(recipe: Recipe, tokens: int, rows: int) -> float:
    layers, model = resources.resolved(recipe).write_layers, resources.model_info(recipe.model)
    # A row joins at its layer, so it runs through the blocks above that only.
    share = 1 - sum(layers) / len(layers) / model.n_layers
    return round(2 * model.n_parameters * (tokens + rows * share) / 1e12, 2)


def _bytes(recipe: Recipe, todo: Plan) -> int:
    width = 4 if resources.activation_dtype(recipe.model) == "float32" else 2
    values = (
        len(resources.resolved(recipe).read_layers) * resources.model_info(recipe.model).d_model
    )
    return (todo.total - todo.cached) * values * width
