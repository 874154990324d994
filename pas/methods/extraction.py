"""Unsteered answers to the training items and the activations for the estimators, in one pass.

docs/method.md, "Contrast sets". The texts that an estimator could average over are known before the
model has answered (`pas.methods.contrast.possible_texts`), so one pass is enough.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pas.data.chat import Chat, chat_of
from pas.data.examples import Example, ItemAnswer
from pas.data.prompts import encode
from pas.data.splits import Protocol
from pas.engine.decisions import decide
from pas.engine.extract import Activations, read
from pas.engine.scoring import ScoringRule, query_of
from pas.errors import UserError
from pas.methods.contrast import METHODS, RANDOM, contrast_sets, possible_texts
from pas.methods.estimate import contrast_weights, estimate_directions, with_random
from pas.methods.grid import Directions, read_layer
from pas.models.loading import LoadedModel
from pas.models.sites import Site


class Extraction(NamedTuple):
    """The result of one pass over the training items.

    Attributes:
        answers: The items and the unsteered model's answers.
        activations: Activations of every text that a method could average over.
        keys: The prompt key of each of these texts.
        methods: The methods for which the texts were read.
        layers: Blocks that directions are added to, in the order of `activations.layers`.
        rule: How the items were scored.
        chat: The chat template of the texts; None for plain text.
    """

    answers: tuple[ItemAnswer, ...]
    activations: Activations
    keys: dict[str, bytes]
    methods: tuple[str, ...]
    layers: tuple[int, ...]
    rule: ScoringRule
    chat: Chat | None


def answer_and_extract(
    model: LoadedModel,
    items: Sequence[Example],
    methods: Sequence[str] = tuple(METHODS),
    layers: Sequence[int] | None = None,
    rule: ScoringRule | None = None,
    site: Site = "residual",
    protocol: Protocol = "sound",
) -> Extraction:
    """Answer items unsteered and read the activations that the methods may need.

    Args:
        model: The model.
        items: The training split.
        methods: Estimators, see `pas.methods.contrast`; "random" adds the control.
        layers: Decoder blocks to steer, counted from 0; all by default.
        rule: How choices are scored; by letter by default.
        site: Where in the block.
        protocol: "paper" reads one block below the block that is steered.

    Raises:
        UserError: If a prompt exceeds the context window, a method is unknown, or the model has no
            such layer or site.
    """
    rule = rule or ScoringRule()
    unknown = [m for m in methods if m not in (*METHODS, RANDOM)]
    if unknown:
        known = ", ".join([*METHODS, RANDOM])
        raise UserError(f"methods (--methods): {unknown[0]!r} is not one of {known}")
    write_layers = tuple(sorted(set(range(model.n_layers) if layers is None else layers)))
    queries = [query_of(model.info, item, rule) for item in items]
    chat = chat_of(model.info, rule.prompt)
    texts = {text for item in items for text in possible_texts(methods, item, rule.kind, chat)}
    # Sorted by key, so that prompts of several texts are read once and in one order.
    prompts = {text: encode(model.info, text) for text in texts}
    distinct = {prompt.key: prompt for prompt in prompts.values()}
    reading = read(
        model,
        [distinct[key] for key in sorted(distinct)],
        [read_layer(layer, protocol) for layer in write_layers],
        site,
        queries,
        length_norm=rule.length_norm,
    )
    ids = [item.id for item in items]
    picked = decide([scores.numpy() for scores in reading.scores], ids, rule.ties)
    return Extraction(
        tuple(map(ItemAnswer, items, picked.tolist())),
        reading.activations,
        {text: prompt.key for text, prompt in prompts.items()},
        tuple(methods),
        write_layers,
        rule,
        chat,
    )


def estimate(extraction: Extraction, seed: int = 0) -> Directions:
    """Return the direction of every method at every layer: a mean difference in float64.

    A method is left out if one side of its contrast is empty.

    Args:
        extraction: From `answer_and_extract`.
        seed: Seed of the control "random", if that is one of the methods.

    Raises:
        UserError: If no method has a contrast.
        ValueError: If an activation is not finite; the message names the prompt and the layer.
    """
    sets = contrast_sets(
        extraction.methods, extraction.answers, extraction.rule.kind, extraction.chat
    )
    weights = contrast_weights(sets, extraction.keys)
    directions = estimate_directions(weights, extraction.activations, extraction.layers)
    return with_random(directions, seed) if RANDOM in extraction.methods else directions
