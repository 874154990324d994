"""A literal, slow statement of the method that the production code is tested against.

Section names in the docstrings are those of Cui & Chen, arXiv 2509.22739, as the project
restates them: "Pipeline", "Contrast sets", "Prompt, scoring, injection", "Two protocols". Chat
prompts follow docs/method.md, "Chat prompts".
Nothing is shared, cached or batched: every prompt, layer and configuration costs its own full
forward pass with a batch of one. The only imports are torch and the standard library, so a
mistake in ``pas`` cannot hide here. Models are expected in fp32, on the CPU, in eval mode.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

METHODS = ("pasf", "ipasa", "ipaswo", "caa")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Variants = Literal["bare", "both"]
Protocol = Literal["paper", "sound"]


@dataclass(frozen=True)
class Item:
    """One question; ``choices`` and ``label`` keep the original order.

    ``order[k]`` is the original index of the choice shown at position ``k``.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    label: int
    order: tuple[int, ...]
    fact: str | None = None

    @property
    def shown_choices(self) -> list[str]:
        """The choices in the order in which the model sees them."""
        return [self.choices[original] for original in self.order]

    @property
    def shown_label(self) -> int:
        """The position at which the correct choice is shown."""
        return self.order.index(self.label)


@dataclass(frozen=True)
class Chat:
    """How questions are put to a chat model. The facts of the template are the test's, by hand.

    ``header`` and ``close`` come after the rendered conversation, ``gap`` before the text of an
    answer; ``variables`` are the template's.
    """

    tokenizer: Any
    template: str
    system: str | None = None
    gap: str = ""
    header: str = ""
    close: str = ""
    variables: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True)
class Scoring:
    """How an item is answered: by the letter after a full prompt, or by choice likelihood."""

    kind: Literal["letter", "choice"] = "letter"
    variants: Variants = "bare"
    length_norm: bool = False
    chat: Chat | None = None
    ties: Literal["first", "even"] = "first"


@dataclass(frozen=True)
class Steering:
    """``delta`` [d_model] is added to the output of block ``layer``."""

    layer: int
    delta: torch.Tensor


@dataclass(frozen=True)
class Cell:
    """One sweep configuration.

    ``scores`` and ``predictions`` are per item and in shown order. The scores tell a real
    disagreement from a near tie that rounding decides.
    """

    scores: list[list[float]]
    predictions: list[int]
    accuracy: float


# Prompts and choice order ---------------------------------------------------------------------


def full_prompt(question: str, choices: Sequence[str], fact: str | None = None) -> str:
    """Render the multiple-choice prompt; ``choices`` as shown ("Prompt, scoring, injection")."""
    lines = [question]
    for letter, choice in zip(LETTERS, choices, strict=False):
        lines.append(f"{letter}: {choice}")
    if fact is not None:
        lines.append(f"Remember, {fact}.")
    lines.append("Respond with a single letter.")
    lines.append("Answer:")
    return "\n".join(lines)


def statement(question: str, choice: str, gap: str = " ") -> str:
    """The question followed by one choice's text ("Contrast sets")."""
    return question + gap + choice


def chat_text(chat: Chat, question: str, earlier: Sequence[tuple[str, str]] = ()) -> str:
    """The conversation up to where the assistant answers ``question`` ("Chat prompts")."""
    messages = [] if chat.system is None else [{"role": "system", "content": chat.system}]
    for asked, answered in earlier:
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": answered})
    messages.append({"role": "user", "content": question})
    text = chat.tokenizer.apply_chat_template(
        messages,
        chat_template=chat.template,
        tokenize=False,
        add_generation_prompt=True,
        **dict(chat.variables),
    )
    return str(text) + chat.header + chat.close


def chat_question(question: str, choices: Sequence[str], fact: str | None = None) -> str:
    """What the user asks under letter scoring ("Chat prompts"): no ``Answer:`` at the end."""
    return full_prompt(question, choices, fact).removesuffix("\nAnswer:")


def prompt_of(item: Item, scoring: Scoring) -> str:
    """The full prompt of an item. In choice scoring it is the question alone."""
    shown = item.shown_choices
    if scoring.chat is None:
        if scoring.kind == "choice":
            return item.question
        return full_prompt(item.question, shown, item.fact)
    if scoring.kind == "choice":
        return chat_text(scoring.chat, item.question)
    return chat_text(scoring.chat, chat_question(item.question, shown, item.fact))


def statement_of(item: Item, choice: int, scoring: Scoring) -> str:
    """The statement of the choice at an original index."""
    if scoring.chat is None:
        return statement(item.question, item.choices[choice])
    opened = chat_text(scoring.chat, item.question)
    return statement(opened, item.choices[choice], scoring.chat.gap)


def paper_order(n_choices: int, seed: int) -> tuple[int, ...]:
    """The published order: re-seeded per question, so equal for all questions of a size.

    "What is wrong with the published protocol", 1.
    """
    order = list(range(n_choices))
    random.Random(seed).shuffle(order)
    return tuple(order)


def sound_order(n_choices: int, seed: int, item_id: str) -> tuple[int, ...]:
    """The order seeded by (seed, item id) ("Two protocols")."""
    order = list(range(n_choices))
    random.Random(f"{seed}:{item_id}").shuffle(order)
    return tuple(order)


# Reading and writing the residual stream ------------------------------------------------------


def find_blocks(model: Any) -> Any:
    """The decoder blocks of a Llama, Mistral, Qwen2, Gemma2 or GPT-2 causal LM, in order.

    In a model for text and images they are those of its text part. "Prompt, scoring, injection":
    what is read and written is a decoder block's output.
    """
    if hasattr(model, "transformer"):
        return model.transformer.h
    if hasattr(model.model, "language_model"):
        return model.model.language_model.layers
    return model.model.layers


def token_ids_of(tokenizer: Any, text: str) -> list[int]:
    """Token ids with one BOS at the front, if the tokenizer adds one or the text has one.

    Nothing is added at the end: the model shall continue the text.
    """
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    bos = tokenizer.bos_token_id
    has_one = bos is not None and bos in (*ids[:1], *tokenizer("")["input_ids"][:1])
    while has_one and ids[:1] == [bos]:
        ids = ids[1:]
    return [bos, *ids] if has_one else ids


def next_token_logits(model: Any, token_ids: Sequence[int]) -> torch.Tensor:
    """Logits [n_tokens, vocab] of one full pass without a KV cache.

    "What is wrong with the published protocol", 6: the costly way, kept here on purpose.
    """
    with torch.no_grad():
        output = model(input_ids=torch.tensor([list(token_ids)]), use_cache=False)
    return output.logits[0].float()


def read_layer(layer: int, protocol: Protocol) -> int:
    """The block whose output is read for a vector written at block ``layer``.

    "Two protocols", read / write site: the paper reads ``hidden_states[L]``, which is the output
    of block L-1 (the embedding output for L = 0), and writes at the output of block L.
    """
    return layer - 1 if protocol == "paper" else layer


def read_activation(model: Any, token_ids: Sequence[int], layer: int) -> torch.Tensor:
    """Hidden state [d_model] of the last token at the output of block ``layer`` ("Pipeline", 4).

    Layer -1 is the embedding output, taken as the input of block 0. A hook is used because the
    last entry of ``output_hidden_states`` has already passed the final norm.
    """
    captured: list[torch.Tensor] = []

    def keep_input(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        captured.append(args[0] if args else kwargs["hidden_states"])

    def keep_output(_module: Any, _args: tuple[Any, ...], output: Any) -> None:
        captured.append(output[0] if isinstance(output, tuple) else output)

    blocks = find_blocks(model)
    if layer == -1:
        handle = blocks[0].register_forward_pre_hook(keep_input, with_kwargs=True)
    elif 0 <= layer < len(blocks):
        handle = blocks[layer].register_forward_hook(keep_output)
    else:
        raise IndexError(f"layer {layer} of a model of {len(blocks)} blocks")
    try:
        next_token_logits(model, token_ids)
    finally:
        handle.remove()
    (hidden,) = captured
    return hidden[0, -1].detach().clone()


@contextmanager
def steered(
    model: Any, layer: int, delta: torch.Tensor, positions: Sequence[int]
) -> Iterator[None]:
    """Add ``delta`` to block ``layer``'s output at ``positions`` ("Prompt, scoring, injection").

    Positions count from 0 in the one sequence of a full pass. Letter scoring steers the last
    position alone; choice scoring steers the last prompt token and every choice token.
    """
    n_calls = 0

    def add_delta(_module: Any, _args: tuple[Any, ...], output: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        for position in positions:
            hidden[0, position] += delta.to(hidden.dtype)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    blocks = find_blocks(model)
    if not 0 <= layer < len(blocks):
        raise IndexError(f"layer {layer} of a model of {len(blocks)} blocks")
    handle = blocks[layer].register_forward_hook(add_delta)
    try:
        yield
        if n_calls == 0:
            raise RuntimeError(f"the steering hook on block {layer} did not fire")
    finally:
        handle.remove()


def logits_with(
    model: Any, token_ids: Sequence[int], steering: Steering | None, positions: Sequence[int]
) -> torch.Tensor:
    """Logits [n_tokens, vocab] of one full pass, steered at ``positions`` unless None.

    "Prompt, scoring, injection".
    """
    if steering is None:
        return next_token_logits(model, token_ids)
    with steered(model, steering.layer, steering.delta, positions):
        return next_token_logits(model, token_ids)


class Use(NamedTuple):
    """One direction in use: where, how strongly, at which positions, by which operation."""

    layer: int
    direction: torch.Tensor
    strength: float
    positions: str = "generated"
    operation: str = "add"


def is_steered(rule: str, position: int, n_prompt: int) -> bool:
    """Whether a rule steers a position, counted from 0 in a sequence that begins with a prompt."""
    last = n_prompt - 1
    if rule == "all":
        return True
    if rule == "prompt":
        return position <= last
    if rule == "generated":
        return position >= last
    return last <= position < last + int(rule.removeprefix("first:"))


def changed(hidden: torch.Tensor, use: Use) -> torch.Tensor:
    """One hidden state [d_model] after an operation; with strength 0 it is as it was."""
    v, s = use.direction.to(hidden), use.strength
    if s == 0:
        return hidden
    u = v / v.norm()
    if use.operation == "add":
        return hidden + s * v
    if use.operation == "add-keep-norm":
        moved = hidden + s * v
        return moved / moved.norm() * hidden.norm()
    if use.operation == "ablate":
        return hidden - s * torch.dot(hidden, u) * u
    assert use.operation == "clamp"
    return hidden - torch.dot(hidden, u) * u + s * v.norm() * u


def logits_under(
    model: Any, token_ids: Sequence[int], n_prompt: int, uses: Sequence[Use]
) -> torch.Tensor:
    """Logits [n_tokens, vocab] of one full pass, position by position, use by use."""
    handles = []
    for layer in {use.layer for use in uses}:

        def edit(_module: Any, _args: Any, output: Any, layer: int = layer) -> Any:
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            for position in range(hidden.shape[1]):
                for use in uses:
                    if use.layer == layer and is_steered(use.positions, position, n_prompt):
                        hidden[0, position] = changed(hidden[0, position], use)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handles.append(find_blocks(model)[layer].register_forward_hook(edit))
    try:
        return next_token_logits(model, token_ids)
    finally:
        for handle in handles:
            handle.remove()


def continuation(
    model: Any, prompt_ids: Sequence[int], uses: Sequence[Use], n_new: int
) -> list[int]:
    """Greedy token ids after a prompt: the whole sequence is run anew for each of them."""
    ids = list(prompt_ids)
    for _ in range(n_new):
        ids.append(int(logits_under(model, ids, len(prompt_ids), uses)[-1].argmax()))
    return ids[len(prompt_ids) :]


# Scoring --------------------------------------------------------------------------------------


def letter_token_ids(tokenizer: Any, letter: str, variants: Variants) -> list[int]:
    """The ids that count as answering ``letter`` ("Two protocols", letter tokens)."""
    bare = tokenizer.encode(letter, add_special_tokens=False)
    spaced = tokenizer.encode(" " + letter, add_special_tokens=False)
    if variants == "bare":
        if len(bare) != 1:
            raise ValueError(f"the bare letter {letter!r} is {len(bare)} tokens, not one")
        return bare
    found: list[int] = []
    for ids in (bare, spaced):
        if len(ids) == 1 and ids[0] not in found:
            found.append(ids[0])
    if not found:
        raise ValueError(f"neither {letter!r} nor {' ' + letter!r} is a single token")
    return found


def letter_scores(
    model: Any,
    tokenizer: Any,
    text: str,
    n_choices: int,
    variants: Variants,
    steering: Steering | None = None,
) -> list[float]:
    """Score of each shown letter at the last position ("Prompt, scoring, injection").

    ``bare``: the logit of the bare letter. ``both``: the log of the summed softmax
    probabilities of the bare and the space-prefixed letter.
    """
    token_ids = token_ids_of(tokenizer, text)
    last = len(token_ids) - 1
    logits = logits_with(model, token_ids, steering, [last])[last].double()
    if variants == "bare":
        return [
            logits[letter_token_ids(tokenizer, letter, "bare")[0]].item()
            for letter in LETTERS[:n_choices]
        ]
    log_probs = torch.log_softmax(logits, dim=-1)
    scores = []
    for letter in LETTERS[:n_choices]:
        ids = letter_token_ids(tokenizer, letter, "both")
        # In log space, as a probability far below the top one is zero after exp().
        scores.append(torch.logsumexp(log_probs[ids], dim=0).item())
    return scores


def split_choices(
    tokenizer: Any, question: str, choices: Sequence[str], gap: str = " "
) -> tuple[int, list[list[int]]]:
    """(P, token ids of every statement), P the number of tokens that count as prompt.

    P is the length of the longest prefix that ``question`` and all statements share, at most
    the question's own length: a tokenizer may merge the question's last characters with the
    choice, and choices that start alike must not lengthen the prompt ("Measured facts about the
    small model", choice likelihood).
    """
    question_ids = token_ids_of(tokenizer, question)
    rows = [token_ids_of(tokenizer, statement(question, choice, gap)) for choice in choices]
    n_prompt = 0
    while n_prompt < len(question_ids) and all(
        n_prompt < len(row) and row[n_prompt] == question_ids[n_prompt] for row in rows
    ):
        n_prompt += 1
    if n_prompt == 0:
        raise ValueError("no prompt token is shared: there is no position to predict from")
    if any(len(row) == n_prompt for row in rows):
        raise ValueError("a choice adds no token of its own")
    return n_prompt, rows


def choice_scores(
    model: Any,
    tokenizer: Any,
    question: str,
    choices: Sequence[str],
    length_norm: bool,
    steering: Steering | None = None,
    gap: str = " ",
) -> list[float]:
    """Log likelihood of every choice's tokens after the question, in nats.

    "Measured facts about the small model": steering acts on the last prompt token and on every
    choice token, as it would in generation. ``length_norm`` divides by the number of tokens.
    """
    n_prompt, rows = split_choices(tokenizer, question, choices, gap)
    scores = []
    for row in rows:
        positions = range(n_prompt - 1, len(row))
        logits = logits_with(model, row, steering, positions)
        log_probs = torch.log_softmax(logits.double(), dim=-1)
        terms = [log_probs[p - 1, row[p]].item() for p in range(n_prompt, len(row))]
        scores.append(math.fsum(terms) / (len(terms) if length_norm else 1))
    return scores


def item_scores(
    model: Any, tokenizer: Any, item: Item, scoring: Scoring, steering: Steering | None = None
) -> list[float]:
    """Scores of one item's choices in the shown order ("Prompt, scoring, injection")."""
    shown, text = item.shown_choices, prompt_of(item, scoring)
    if scoring.kind == "choice":
        gap = " " if scoring.chat is None else scoring.chat.gap
        return choice_scores(model, tokenizer, text, shown, scoring.length_norm, steering, gap)
    return letter_scores(model, tokenizer, text, len(shown), scoring.variants, steering)


def argmax(scores: Sequence[float]) -> int:
    """The first index of the largest score ("Prompt, scoring, injection", prediction)."""
    return list(scores).index(max(scores))


def answer(scores: Sequence[float], item_id: str, scoring: Scoring) -> int:
    """The index of the largest score, -1 if a score is not finite.

    "Prompt, scoring, injection", prediction. Of equal ones, "first" takes the first as the paper
    does, and "even" draws one, seeded by the item's id.
    """
    if not all(math.isfinite(score) for score in scores):
        return -1
    if scoring.ties == "first":
        return argmax(scores)
    best = [i for i, score in enumerate(scores) if score == max(scores)]
    return random.Random(f"tie:{item_id}").choice(best)


def predict(
    model: Any,
    tokenizer: Any,
    items: Sequence[Item],
    scoring: Scoring,
    steering: Steering | None = None,
) -> list[int]:
    """The shown index that the model picks for every item ("Pipeline", 2)."""
    return [
        answer(item_scores(model, tokenizer, item, scoring, steering), item.id, scoring)
        for item in items
    ]


def accuracy(items: Sequence[Item], predictions: Sequence[int]) -> float:
    """Share of items whose predicted position shows the correct choice ("Pipeline", 5)."""
    hits = [p == item.shown_label for item, p in zip(items, predictions, strict=True)]
    return sum(hits) / len(hits)


# Contrast sets, vectors, sweep ----------------------------------------------------------------


def contrast(
    method: str, items: Sequence[Item], predictions: Sequence[int], scoring: Scoring
) -> list[tuple[str, int]]:
    """(prompt, +1 or -1) pairs of a method, in item order ("Contrast sets").

    A prompt that occurs for two items is listed, and counts, twice. In choice scoring the full
    prompt of PASf is the question alone. CAA ignores the predictions.
    """
    signed: list[tuple[str, int]] = []
    for item, prediction in zip(items, predictions, strict=True):
        correct = prediction == item.shown_label
        right = statement_of(item, item.label, scoring)
        picked = statement_of(item, item.order[prediction], scoring)
        if method == "pasf":
            signed.append((prompt_of(item, scoring), +1 if correct else -1))
        elif method == "ipasa":
            signed.append((right, +1) if correct else (picked, -1))
        elif method == "ipaswo":
            if not correct:
                signed += [(right, +1), (picked, -1)]
        elif method == "caa":
            wrong_indices = [i for i in range(len(item.choices)) if i != item.label]
            wrong = random.Random(f"caa:{item.id}").choice(wrong_indices)
            signed += [(right, +1), (statement_of(item, wrong, scoring), -1)]
        else:
            raise ValueError(f"unknown method {method!r}")
    return signed


def mean_difference(
    model: Any, tokenizer: Any, signed: Sequence[tuple[str, int]], layer: int
) -> torch.Tensor | None:
    """mean(act(P+)) - mean(act(P-)) [d_model] float64, not normalised ("Pipeline", 4).

    ``layer`` is the block read. None when either side is empty: there is no such vector.
    """
    acts: dict[int, list[torch.Tensor]] = {+1: [], -1: []}
    for text, sign in signed:
        ids = token_ids_of(tokenizer, text)
        acts[sign].append(read_activation(model, ids, layer).double())
    if not acts[+1] or not acts[-1]:
        return None
    return torch.stack(acts[+1]).mean(dim=0) - torch.stack(acts[-1]).mean(dim=0)


def build_vectors(
    model: Any,
    tokenizer: Any,
    items: Sequence[Item],
    methods: Sequence[str],
    layers: Sequence[int],
    scoring: Scoring,
    protocol: Protocol,
) -> dict[tuple[str, int], torch.Tensor]:
    """Vectors by (method, layer written) from the model's own answers ("Pipeline", 2 to 4).

    A method with an empty side has no entry.
    """
    predictions = predict(model, tokenizer, items, scoring)
    vectors = {}
    for method in methods:
        signed = contrast(method, items, predictions, scoring)
        for layer in layers:
            vector = mean_difference(model, tokenizer, signed, read_layer(layer, protocol))
            if vector is not None:
                vectors[method, layer] = vector
    return vectors


def sweep(
    model: Any,
    tokenizer: Any,
    items: Sequence[Item],
    vectors: Mapping[tuple[str, int], torch.Tensor],
    strengths: Sequence[float],
    scoring: Scoring,
) -> dict[tuple[str, int, float], Cell]:
    """Predictions and accuracy of every (method, layer, strength) ("Pipeline", 5)."""
    cells = {}
    for (method, layer), vector in vectors.items():
        for strength in strengths:
            steering = Steering(layer, strength * vector)
            scores = [item_scores(model, tokenizer, i, scoring, steering) for i in items]
            predictions = [answer(s, i.id, scoring) for s, i in zip(scores, items, strict=True)]
            cell = Cell(scores, predictions, accuracy(items, predictions))
            cells[method, layer, strength] = cell
    return cells
