"""What a training, or a cell of a study, would take, said before a model is loaded."""

from collections.abc import Sequence
from typing import NamedTuple

from pas.contrast import Answered, possible_texts
from pas.examples import Example, Split
from pas.shots import with_shots
from pas.trie import common_root, packs, trie_size
from tasks import resources
from tasks.extract import Plan, plan, question, read_layers, write_layers
from tasks.load import load_split, read_examples
from tasks.recipe import Recipe
from tasks.study import StudyCell

_PACK = 2048  # tokens of a forward pass; how they are cut changes little
# Of one pass a fine-tuned token costs three: forward, forward again as checkpointing recomputes
# it, and backward to the activations. The weights themselves get no gradient under LoRA.
_TUNING_PASSES = 3


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


class Measured(NamedTuple):
    """A cell whose data and tokenizer were read.

    Attributes:
        forecast: What it takes if it is run alone.
        texts: Those whose activations it needs, cached or not.
    """

    forecast: Forecast
    texts: frozenset[str]


def forecast(recipe: Recipe) -> Forecast:
    """Read and check the data and the tokenizer, and count.

    Which exemplars an in-context run shows is known once the model has answered, so here they are
    drawn from all training items.

    Raises:
        UserError: For every mistake that can be found without running the model.
    """
    return _training(recipe)[0]


def measured(cell: StudyCell) -> Measured:
    """Forecast a cell of a study: fine-tuning and the asking of another task are counted too.

    Raises:
        UserError: As `forecast` does.
    """
    if cell.target is not None:
        return Measured(_forgetting(cell, cell.target), frozenset())
    found, parts = _training(cell.recipe)
    kind = cell.recipe.rule.kind
    texts = frozenset(
        text for e in parts.train for text in possible_texts(cell.recipe.methods, e, kind)
    )
    if cell.tuning is not None:
        lengths = [len(question(cell.recipe, e).tails[0].token_ids) for e in parts.train]
        seen = round(sum(lengths) * epochs(cell, len(lengths)))
        parameters = resources.tokens(cell.recipe.spec).n_parameters
        found = with_tuning(found, seen, parameters)
    return Measured(found, texts)


def epochs(cell: StudyCell, n_train: int) -> float:
    """Return how often a "sft" cell's training items are seen, `max_steps` heeded."""
    tuning = cell.tuning
    if tuning is None:
        return 0.0
    if tuning.max_steps is None:
        return tuning.epochs
    return min(tuning.epochs, tuning.max_steps * tuning.batch_size / n_train)


def with_tuning(found: Forecast, seen: int, parameters: float) -> Forecast:
    """Add the tokens that fine-tuning sees, and their work, to a training's forecast."""
    work = teraflops(parameters, _TUNING_PASSES * seen, 0, 0.0)
    return found._replace(tokens=found.tokens + seen, teraflops=found.teraflops + work)


def teraflops(parameters: float, tokens: int, rows: int, share: float) -> float:
    """Return 2 operations a parameter for each token and for the share of it that a row meets."""
    return round(2 * parameters * (tokens + rows * share) / 1e12, 2)


def share_above(layers: Sequence[int], depth: int) -> float:
    """Return the part of the model that a row runs through: it joins at its layer."""
    return 1 - sum(layers) / len(layers) / depth


def _training(recipe: Recipe) -> tuple[Forecast, Split]:
    parts = load_split(recipe, read_examples(recipe))
    before = 0
    if recipe.shots:
        before = plan(recipe, parts.train, methods=()).tokens
        guessed = [Answered(e, (e.label + 1) % len(e.choices)) for e in parts.train]
        parts = with_shots(parts, guessed, recipe.shots, recipe.seed, recipe.rule.kind)
    tokens = resources.tokens(recipe.spec)
    todo = plan(recipe, parts.train)
    layers = write_layers(recipe)
    strengths = [s for s in recipe.grid_strengths if s]
    cells = len(recipe.methods) * len(layers) * len(recipe.grid_strengths)
    (val, steered), (test, _) = (_asked(recipe, part) for part in (parts.val, parts.test))
    rows = steered * len(recipe.methods) * len(layers) * len(strengths)
    whole = val + test + todo.tokens + before
    share = share_above(layers, tokens.n_layers)
    found = Forecast(
        items={name: len(part) for name, part in zip(Split._fields, parts, strict=True)},
        prompts=todo.total,
        prompts_cached=todo.cached,
        shards=len(todo.shards),
        bytes=_bytes(recipe, todo),
        configurations=cells,
        tokens=whole,
        steered_rows=rows,
        teraflops=teraflops(tokens.n_parameters, whole, rows, share),
    )
    return found, parts


def _forgetting(cell: StudyCell, target: Recipe) -> Forecast:
    """Count one pass over the other task's test items and a row for each strength.

    The vector's own strength is not known yet, so it is one more; nor is its layer, so the mean
    of the sweep's stands for it.
    """
    test = load_split(target, read_examples(target)).test
    held, steered = _asked(target, test)
    tried = len([s for s in cell.strengths if s]) + 1
    tokens = resources.tokens(cell.recipe.spec)
    share = share_above(write_layers(cell.recipe), tokens.n_layers)
    work = teraflops(tokens.n_parameters, held, steered * tried, share)
    items = {"train": 0, "val": 0, "test": len(test)}
    return Forecast(items, 0, 0, 0, 0, tried, held, steered * tried, work)


def _asked(recipe: Recipe, part: Sequence[Example]) -> tuple[int, int]:
    """Return the tokens of a split's questions, and how many of them a configuration steers."""
    asked = [question(recipe, e) for e in part]
    units = [[t.token_ids for t in q.tails] for q in asked]
    # Exemplars are laid out once and kept for all passes (`pas.prefix`).
    root = common_root([ids for unit in units for ids in unit]) if recipe.shots else 0
    held = root + sum(cut.tokens for cut in packs(units, _PACK, root))
    steered = sum(
        trie_size(unit) - len(unit[0]) + q.tails[0].n_steered
        for unit, q in zip(units, asked, strict=True)
    )
    return held, steered


def bytes_of_text(recipe: Recipe) -> int:
    """Return the size of one text's activations, all layers that are read, before compression."""
    width = 4 if resources.activation_dtype(recipe.spec) == "float32" else 2
    return len(read_layers(recipe)) * resources.tokens(recipe.spec).d_model * width


def _bytes(recipe: Recipe, todo: Plan) -> int:
    return (todo.total - todo.cached) * bytes_of_text(recipe)
