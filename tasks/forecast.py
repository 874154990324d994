"""What a training would take, said before a model is loaded."""

from typing import NamedTuple

from pas.examples import Split
from pas.trie import packs, trie_size
from tasks import resources
from tasks.extract import Plan, plan, question, read_layers, write_layers
from tasks.load import load_split, read_examples
from tasks.recipe import Recipe

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


def forecast(recipe: Recipe) -> Forecast:
    """Read and check the data and the tokenizer, and count.

    Raises:
        UserError: For every mistake that can be found without running the model.
    """
    examples = read_examples(recipe)
    parts = load_split(recipe, examples)
    tokens = resources.tokens(recipe.spec)
    todo = plan(recipe, parts.train)
    asked = [[question(recipe, e) for e in part] for part in (parts.val, parts.test)]
    layers = write_layers(recipe)
    strengths = [s for s in recipe.grid_strengths if s]
    cells = len(recipe.methods) * len(layers) * len(recipe.grid_strengths)
    units = [[[t.token_ids for t in q.tails] for q in part] for part in asked]
    held = sum(cut.tokens for part in units for cut in packs(part, _PACK))
    steered = sum(
        trie_size(unit) - len(unit[0]) + q.tails[0].n_steered
        for unit, q in zip(units[0], asked[0], strict=True)
    )
    rows = steered * len(recipe.methods) * len(layers) * len(strengths)
    whole = held + todo.tokens
    # A row joins at its layer, so it runs through the blocks above that only.
    share = 1 - sum(layers) / len(layers) / tokens.n_layers
    work = 2 * tokens.n_parameters * (whole + rows * share)
    return Forecast(
        items={name: len(part) for name, part in zip(Split._fields, parts, strict=True)},
        prompts=todo.total,
        prompts_cached=todo.cached,
        shards=len(todo.shards),
        bytes=_bytes(recipe, todo),
        configurations=cells,
        tokens=whole,
        steered_rows=rows,
        teraflops=round(work / 1e12, 2),
    )


def _bytes(recipe: Recipe, todo: Plan) -> int:
    width = 4 if resources.activation_dtype(recipe.spec) == "float32" else 2
    values = len(read_layers(recipe)) * resources.tokens(recipe.spec).d_model
    return (todo.total - todo.cached) * values * width
