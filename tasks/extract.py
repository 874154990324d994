"""Extract: the activations and unsteered answers that the lake lacks, one Prefect task a shard.

Both come from one pass over the model: the prompts that an estimator may average over are known
before the model has answered, see `pas.methods.contrast.possible_texts`.
"""

from collections.abc import Callable
from typing import NamedTuple

from pas.data.examples import Example
from pas.data.prompts import Prompt, encode
from pas.engine.extract import read
from pas.engine.scoring import Query, canonical, query_key, query_of
from pas.engine.trie import packs
from pas.methods.contrast import possible_texts
from pas.progress import counted
from pas.recipe import Recipe
from storage.catalogue.views import missing
from storage.lake.answers import answers_address, read_answers, write_answers
from storage.lake.shards import shard_folder, shard_key, write_shard
from storage.lake.stages import read_split
from storage.settings import settings
from tasks import resources
from tasks.caching import filling
from tasks.shares import Share, Unit, Work


class Shard(NamedTuple):
    """The work of one pass: activations of texts and answers to items.

    Attributes:
        addresses: Of the activations and of the answers, as far as there are any, in the order in
            which they are written. Another training may have the same answers beside other
            activations, so neither says that the other is there.
        texts: Prompts whose activations are missing.
        items: Items whose answers are missing.
    """

    addresses: tuple[str, ...]
    texts: list[str]
    items: list[Example]


class Plan(NamedTuple):
    """The prompts and items that a training needs from the model.

    Attributes:
        total: Distinct prompts wanted.
        cached: Of these, how many are in the lake at every wanted layer.
        unanswered: Items without an answer in the lake.
        tokens: Tokens to run; those that prompts of a shard share are run, and counted, once.
        shards: What is missing, cut by token budget.
    """

    total: int
    cached: int
    unanswered: int
    tokens: int
    shards: list[Shard]


def question(recipe: Recipe, example: Example) -> Query:
    """Make an item ready for scoring.

    Raises:
        UserError: If a prompt exceeds the context window.
    """
    return query_of(resources.model_info(recipe.model), example, resources.resolved(recipe).rule)


def plan(
    recipe: Recipe, train: tuple[Example, ...], methods: tuple[str, ...] | None = None
) -> Plan:
    """Find what the lake lacks for the training items, and cut it into shards.

    Args:
        recipe: The training.
        train: Its training items.
        methods: Estimators to have activations for, the recipe's if not given; with none, the
            items are only answered.

    Raises:
        UserError: If a prompt exceeds the context window.
    """
    lake, info, setup = (
        resources.lake(),
        resources.model_info(recipe.model),
        resources.resolved(recipe),
    )
    layers, rule = setup.read_layers, setup.rule
    wanted = recipe.methods if methods is None else methods
    asked = {e: question(recipe, e) for e in train}  # first, because its errors name the item
    chat = resources.chat(recipe)
    possible = {text for e in train for text in possible_texts(wanted, e, rule.kind, chat)}
    prompts = {p.key: p for p in (encode(info, text) for text in possible)}
    keys = {e: query_key(info.fingerprint, q) for e, q in asked.items()}
    absent = missing(lake, info.fingerprint, recipe.site, list(prompts), layers)
    answered = read_answers(lake, info.fingerprint, rule.name, list(keys.values()))
    lacking: list[Prompt | Example] = [prompts[key] for key in sorted(absent)]
    lacking += [e for e in train if keys[e] not in answered]
    units = [
        [todo.token_ids]
        if isinstance(todo, Prompt)
        else [t.token_ids for t in asked[todo].sequences]
        for todo in lacking
    ]
    folder, shards, n_tokens = shard_folder(lake, info.fingerprint, recipe.site), [], 0
    for cut in packs(units, settings().shard_tokens):
        chosen = [lacking[i] for i in cut.units]
        items = [e for e in chosen if isinstance(e, Example)]
        texts = [p for p in chosen if isinstance(p, Prompt)]
        addresses = []
        if texts:
            addresses.append(f"{folder}/{shard_key([p.key for p in texts], layers)}.parquet")
        if items:
            asked_keys = [keys[e] for e in items]
            addresses.append(answers_address(lake, info.fingerprint, rule.name, asked_keys))
        shards.append(Shard(tuple(addresses), [p.text for p in texts], items))
        n_tokens += cut.tokens
    unanswered = sum(isinstance(todo, Example) for todo in lacking)
    return Plan(len(prompts), len(prompts) - len(absent), unanswered, n_tokens, shards)


def run_shard(recipe: Recipe, shard: Shard) -> str:
    """Run the model over a shard's texts and items, and write both; return the last address."""
    lake, model, setup = resources.lake(), resources.model(recipe.model), resources.resolved(recipe)
    prompts = [encode(model.info, text) for text in shard.texts]
    questions = [question(recipe, example) for example in shard.items]
    activations, scores = read(
        model,
        prompts,
        setup.read_layers,
        recipe.site,
        questions,
        length_norm=setup.rule.length_norm,
        token_budget=settings().batch_tokens,
    )
    written = []
    if prompts:
        meta = recipe.model.as_dict()
        written.append(write_shard(lake, model.fingerprint, recipe.site, activations, meta))
    if questions:
        keys = [query_key(model.fingerprint, q) for q in questions]
        by_key = {
            key: shown[canonical(asked)].tolist()
            for key, asked, shown in zip(keys, questions, scores, strict=True)
        }
        written.append(write_answers(lake, shard.addresses[-1], by_key))
    if tuple(written) != shard.addresses:
        raise RuntimeError(f"the shard landed at {written} instead of {shard.addresses}")
    return written[-1]


def _extract(
    recipe: Recipe, shard: Shard, number: int, total: int, size: int, *, addresses: tuple[str, ...]
) -> str:
    """Run a shard as a task."""
    del number, total, size, addresses  # for the task's name and its cache
    return run_shard(recipe, shard)


extract_shard = filling(
    "extract-shard", _extract, task_run_name="extract {number} of {total}: {size} prompts"
)


def extract_missing(
    recipe: Recipe,
    split: str,
    methods: tuple[str, ...] | None = None,
    share: Share | None = None,
) -> Plan:
    """Run what is missing, a few shards in flight so that writing overlaps with compute.

    Args:
        recipe: The training.
        split: Address of its split.
        methods: See `plan`.
        share: Has other processes help, if given.

    Returns:
        The plan, now carried out.
    """
    todo = plan(recipe, read_split(resources.lake(), split).train, methods)
    if share is not None and len(todo.shards) > 1:
        units = (
            Unit(shard.addresses, tuple(shard.texts), tuple(e.id for e in shard.items))
            for shard in todo.shards
        )
        share(Work("extract", recipe, split, "", tuple(units)))
        return todo
    futures = [
        extract_shard.submit(
            recipe,
            shard,
            number,
            len(todo.shards),
            len(shard.texts) + len(shard.items),
            addresses=shard.addresses,
        )
        for number, shard in enumerate(todo.shards, start=1)
    ]
    with counted(len(futures), "shards extracted", bar=False) as advance:
        for future in futures:
            future.result()
            advance(1)
    return todo


def shard_runner(work: Work) -> Callable[[Unit], str]:
    """Return what runs the model over a unit of an extraction that processes share."""
    by_id = {example.id: example for example in read_split(resources.lake(), work.split).train}

    def run(unit: Unit) -> str:
        items = [by_id[item] for item in unit.items]
        return run_shard(work.recipe, Shard(unit.addresses, list(unit.texts), items))

    return run
