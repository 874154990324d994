"""The cost of each further seed, computed by the pipeline's own planning on its lake."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from datasets import disable_progress_bars
from matplotlib.figure import Figure

from benchmarks.figures import bare, save_figure, styles
from benchmarks.material import METHODS, arguments, data_file
from benchmarks.timing import save, show
from flows.runtime import prepare_environment
from pas.data.examples import Example
from pas.data.prompts import encode, full_prompt, statement
from pas.engine.extract import Activations, capture
from pas.engine.scoring import query_key
from storage.lake.answers import write_answers
from storage.lake.shards import write_shard
from storage.settings import settings

if TYPE_CHECKING:
    from pas.recipe import Recipe
    from tasks.extract import Plan

# Everything of `tasks` is imported where it is used: Prefect reads its home when it is imported.

LAYER = "14"  # one, so that the shards are small; a plan names the same prompts for any
SETTINGS: dict[str, dict[str, Any]] = {
    "letter sound": {"scoring": "letter"},
    "letter sound, one order": {"scoring": "letter", "order_seed": 0},
    "letter paper": {"scoring": "letter", "protocol": "paper"},
    "choice sound": {"scoring": "choice"},
}
RAN = 3  # seeds that --run really runs
# The published loop runs a prompt for every layer and method; iPASwo runs two of each item that
# was answered wrongly, counted here as half of them.
PUBLISHED_LAYERS = 10
_BLOCK = 4  # rows of one context in upstream order: two contexts, each asked both ways


class SeedWork(NamedTuple):
    """The model's work for one seed.

    `tokens` is the number of tokens to run, and `alone` the number on an empty lake. `passes` is
    the number of distinct sequences that are run.
    """

    seed: int
    items: int
    prompts: int
    cached: int
    unanswered: int
    passes: int
    tokens: int
    alone: int
    seconds: float | None


@contextmanager
def home(folder: Path) -> Iterator[None]:
    """Let the settings of this process point to a home of its own."""
    before = os.environ.get("PAS_HOME")
    os.environ["PAS_HOME"] = str(folder)
    settings.cache_clear()
    try:
        yield
    finally:
        os.environ.pop("PAS_HOME")
        if before is not None:
            os.environ["PAS_HOME"] = before
        settings.cache_clear()


def cut_rows(lines: Sequence[str], n: int) -> list[str]:
    """`n` rows, whole contexts, from all templates in turn, so that `sound` can split them."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(json.loads(line)["question_index"], []).append(line)
    longest = max(map(len, groups.values()))
    taken = [
        line
        for start in range(0, longest, _BLOCK)
        for group in groups.values()
        for line in group[start : start + _BLOCK]
    ]
    if n > len(taken):
        raise SystemExit(f"--items {n}: there are {len(taken)}")
    return taken[:n]


def planned(recipe: "Recipe") -> "tuple[tuple[Example, ...], Plan]":
    """The training items of the recipe's seed, and what the lake lacks for them."""
    from pas.reading import take_in
    from tasks.extract import plan
    from tasks.load import load_split

    train = load_split(recipe, take_in(recipe).examples).train
    return train, plan(recipe, train)


def n_passes(recipe: "Recipe", todo: "Plan") -> int:
    """Distinct sequences of all shards; a prompt that is read and answered counts once."""
    from tasks import resources
    from tasks.extract import question

    info = resources.model_info(recipe.model)
    texts = {encode(info, text).token_ids for shard in todo.shards for text in shard.texts}
    items = [question(recipe, item) for shard in todo.shards for item in shard.items]
    return len(texts | {tail.token_ids for asked in items for tail in asked.sequences})


def mark(recipe: "Recipe", todo: "Plan") -> None:
    """Fill the plan's addresses with zeros: what is planned next depends on keys alone."""
    from tasks import resources
    from tasks.extract import question

    lake, info = resources.lake(), resources.model_info(recipe.model)
    layers = resources.resolved(recipe).read_layers
    for shard in todo.shards:
        prompts = [encode(info, text) for text in shard.texts]
        if prompts:
            values = torch.zeros(len(prompts), len(layers), info.d_model)
            lengths = tuple(len(p.token_ids) for p in prompts)
            zeros = Activations(tuple(p.key for p in prompts), lengths, layers, values)
            write_shard(lake, info.fingerprint, recipe.site, zeros, recipe.model.as_dict())
        if shard.items:
            scores = {
                query_key(info.fingerprint, question(recipe, item)): [0.0] * len(item.choices)
                for item in shard.items
            }
            write_answers(lake, shard.address, scores)


def run(recipe: "Recipe", todo: "Plan") -> None:
    """Run what the flow's task runs, without Prefect."""
    from tasks.extract import extract_shard

    for shard in todo.shards:
        extract_shard.fn(recipe, shard.texts, shard.items, shard.address)


def count(folder: Path, recipes: "Sequence[Recipe]", really: bool) -> list[SeedWork]:
    """One seed after the other on one lake, each compared with a lake of its own."""
    from tasks import resources

    if really:  # loads the model, and reads its weights from their file
        model = resources.model(recipes[0].spec)
        capture(model, [encode(model.info, "The library opens at nine.")], (0,))
    found = []
    for recipe in recipes:
        with home(folder / "empty"):
            _, alone = planned(recipe)
        with home(folder / "shared"):
            train, todo = planned(recipe)
            start = perf_counter()
            (run if really else mark)(recipe, todo)
            seconds = perf_counter() - start
            left = planned(recipe)[1]
            if left.shards:
                raise RuntimeError(f"seed {recipe.seed}: {left.tokens} tokens are still planned")
        found.append(
            SeedWork(
                recipe.seed,
                len(train),
                todo.total,
                todo.cached,
                todo.unanswered,
                n_passes(recipe, todo),
                todo.tokens,
                alone.tokens,
                seconds if really else None,
            )
        )
    return found


def published(recipes: "Sequence[Recipe]") -> list[dict[str, int]]:
    """Passes and tokens of the published loop, seed by seed; it keeps nothing between them."""
    from pas.reading import take_in
    from tasks import resources
    from tasks.load import load_split

    found = []
    for recipe in recipes:
        train = load_split(recipe, take_in(recipe).examples).train
        info = resources.model_info(recipe.model)
        used = 0.0
        for item in train:
            whole = len(encode(info, full_prompt(item, "letter")).token_ids)
            said = fmean(
                len(encode(info, statement(item, choice)).token_ids)
                for choice in range(len(item.choices))
            )
            used += whole * (1 + PUBLISHED_LAYERS) + said * (len(METHODS) - 1) * PUBLISHED_LAYERS
        passes = len(train) * (1 + len(METHODS) * PUBLISHED_LAYERS)
        found.append({"seed": recipe.seed, "passes": passes, "tokens": round(used)})
    return found


def each(name: str, counted: Sequence[SeedWork]) -> list[dict[str, Any]]:
    """Return one line per seed."""
    return [
        {
            "setting": name,
            **{k: v for k, v in one._asdict().items() if v is not None},
            "share of first": one.tokens / counted[0].tokens,
        }
        for one in counted
    ]


def summary(name: str, counted: Sequence[SeedWork]) -> dict[str, Any]:
    """Return one line per setting."""
    shares = [one.tokens / counted[0].tokens for one in counted]
    total, alone = sum(one.tokens for one in counted), sum(one.alone for one in counted)
    line: dict[str, Any] = {"setting": name, "items": counted[0].items}
    line |= {"passes, seed 0": counted[0].passes, "tokens, seed 0": counted[0].tokens}
    line |= {
        f"seed {one.seed}": share
        for one, share in zip(counted, shares, strict=True)
        if one.seed in (1, 2)
    }
    line["further, mean"] = fmean(shares[3:]) if shares[3:] else None
    line |= {"tokens, all": total, "as many runs": len(counted) * total / alone}
    return line


def draw(counted: dict[str, list[SeedWork]]) -> Figure:
    """Tokens run so far against the number of seeds, with what independent runs would take."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = bare(figure.subplots())
    for (name, found), style in zip(counted.items(), styles(), strict=False):
        seeds = range(1, len(found) + 1)
        run_so_far, alone = (
            [total / 1000 for total in accumulate(tokens)]
            for tokens in ([one.tokens for one in found], [one.alone for one in found])
        )
        axes.plot(seeds, alone, color="0.8", linewidth=1.2, linestyle=style["linestyle"])
        axes.plot(seeds, run_so_far, label=name, **style)
    axes.set_xlabel("seeds trained")
    axes.set_ylabel("tokens run so far, thousands")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8, frameon=False, title="light: every seed alone", title_fontsize=8)
    return figure


def main() -> None:
    parser = arguments(
        "seeds",
        __doc__ or "",
        "python -m benchmarks.seeds --items 320 --seeds 15 --out seeds.json --figure seeds.svg",
    )
    parser.add_argument("--items", type=int, default=320, help="of BBQ Age, before the split (320)")
    parser.add_argument("--seeds", type=int, default=15, help="how many (15)")
    parser.add_argument(
        "--run", action="store_true", help=f"really run the first {RAN} seeds too, and time them"
    )
    parser.add_argument("--figure", type=Path, help="draw it, svg or png by the name")
    options = parser.parse_args()
    source = data_file()
    disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="pas-seeds-") as scratch:
        folder = Path(scratch)
        prepare_environment(folder)
        from pas.recipe import Recipe

        data = folder / "items.jsonl"
        rows = cut_rows(source.read_text(encoding="utf-8").splitlines(), options.items)
        data.write_text("\n".join(rows) + "\n", encoding="utf-8")
        recipes = {
            name: [
                Recipe.read(
                    {
                        "task": "bbq_age",
                        "data": str(data),
                        "device": "cpu",
                        "layers": LAYER,
                        "prompt": "plain",
                        "seed": seed,
                    }
                    | chosen
                )
                for seed in range(options.seeds)
            ]
            for name, chosen in SETTINGS.items()
        }
        counted = {
            name: count(folder / f"count-{at}", own, really=False)
            for at, (name, own) in enumerate(recipes.items())
        }
        ran = {
            name: count(folder / f"run-{at}", own[:RAN], really=True)
            for at, (name, own) in enumerate(recipes.items())
            if options.run
        }
        loop = published(recipes["letter paper"])
    lines = [line for name, found in counted.items() for line in each(name, found)]
    timed = [line for name, found in ran.items() for line in each(name, found)]
    totals = [summary(name, found) for name, found in counted.items()]
    totals.append(
        {
            "setting": "published, letter paper",
            "items": counted["letter paper"][0].items,
            "passes, seed 0": loop[0]["passes"],
            "tokens, seed 0": loop[0]["tokens"],
            "seed 1": 1.0,
            "seed 2": 1.0,
            "further, mean": 1.0,
            "tokens, all": sum(one["tokens"] for one in loop),
            "as many runs": float(len(loop)),
        }
    )
    notes = [
        f"{options.items} rows of BBQ Age from all templates, whole contexts; items: those of the "
        "training split, which are what a seed extracts. Later seeds draw other ones.",
        "Tokens as the plan counts them: those that sequences of a shard share are run once. "
        "Passes: distinct sequences, activations and answers together. One order: --order-seed 0.",
        "seed 1, seed 2 and further: tokens to run, as a share of seed 0's. As many runs: tokens "
        f"of all {options.seeds} seeds, in runs that know nothing of each other.",
        "Counted by planning; what a plan finds depends on keys alone, so the shards that stand "
        "for seeds already run hold zeros.",
        f"Published loop: {len(METHODS)} methods x {PUBLISHED_LAYERS} layers, one pass for each "
        "prompt, layer and method and one for the answer, with half of the items answered "
        "wrongly; computed.",
    ]
    show("Seeds, one by one", lines)
    if timed:
        show("Seeds, really run", timed)
    show("Seeds", totals, notes)
    save_figure(options.figure, draw(counted))
    save(
        options.out,
        {
            "benchmark": "seeds",
            "options": {"items": options.items, "seeds": options.seeds, "run": options.run},
            "table": totals,
            "seeds": lines,
            "run": timed,
            "published": loop,
            "notes": notes,
        },
    )


if __name__ == "__main__":
    main()
