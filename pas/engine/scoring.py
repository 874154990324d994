"""Scoring of multiple-choice answers: by letter, or by the likelihood of the choices' texts.

docs/method.md, "Prompt and scoring". Both give one score per choice. `pas.engine.decisions` makes
an answer of them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, nan
from string import ascii_uppercase
from typing import Any, NamedTuple

import torch

from pas.data.chat import PLAIN, PromptStyle, chat_of
from pas.data.examples import Example
from pas.data.prompts import Scoring, encode, full_prompt, warn_without_bos
from pas.data.splits import Protocol
from pas.engine.decisions import Ties
from pas.engine.trie import common_length
from pas.errors import UserError
from pas.models.loading import ModelInfo


@dataclass(frozen=True)
class ScoringRule:
    """How choices are scored.

    Attributes:
        kind: "letter" uses the next-token logits of the letters after a prompt that lists the
            choices. "choice" uses the log-probability of each choice's text after the question.
        variants: "bare" is the paper's rule: letter scoring uses `A`, and of equal scores the first
            one is taken. "both" sums the probabilities of `A` and ` A`.
        length_norm: Choice scoring: mean log-probability per token instead of the sum.
        prompt: How the text becomes what the model reads, see `pas.data.chat.prompt_style`.
    """

    kind: Scoring = "letter"
    variants: str = "both"
    length_norm: bool = True
    prompt: PromptStyle = PLAIN

    @property
    def name(self) -> str:
        """A name that is different for each rule."""
        if self.kind == "letter":
            name = f"letter-{self.variants}"
        else:
            name = "choice-mean" if self.length_norm else "choice-sum"
        return name if self.prompt == PLAIN else f"{name}-{self.prompt.name}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able, without the prompt, which a vector has as its own."""
        return {"kind": self.kind, "variants": self.variants, "length_norm": self.length_norm}

    @property
    def ties(self) -> Ties:
        """Which one of equally high scores is taken: "first" under the paper's rule."""
        return "first" if self.variants == "bare" else "even"


class ScoredSequence(NamedTuple):
    """One sequence to run, and the positions at its end that are steered.

    Attributes:
        token_ids: The input of the model.
        n_steered: Number of steered positions at the end: the last prompt token and, in choice
            scoring, every choice token that predicts another one.
        targets: Choice scoring: the token to predict from each steered position. Letter scoring:
            empty.
    """

    token_ids: tuple[int, ...]
    n_steered: int
    targets: tuple[int, ...]


class Query(NamedTuple):
    """An item, tokenised for scoring.

    Attributes:
        sequences: One sequence (letter scoring) or one for each choice (choice scoring).
        letters: Letter scoring: for each choice the token ids whose probabilities are summed.
        label: Index of the correct choice.
    """

    sequences: tuple[ScoredSequence, ...]
    letters: tuple[tuple[int, ...], ...]
    label: int


@lru_cache(maxsize=64)
def letter_tokens(info: ModelInfo, n_choices: int, variants: str) -> tuple[tuple[int, ...], ...]:
    """Return the token ids of each letter.

    Args:
        info: The tokenizer.
        n_choices: Number of letters, starting with A.
        variants: "bare" or "both", see `ScoringRule`.

    Raises:
        UserError: If a bare letter is not a single token of this tokenizer.
    """
    by_letter = []
    for letter in ascii_uppercase[:n_choices]:
        texts = (letter,) if variants == "bare" else (letter, f" {letter}")
        encoded = [info.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        ids = tuple(dict.fromkeys(e[0] for e in encoded if len(e) == 1))
        if len(encoded[0]) != 1:
            raise UserError(
                f"the letter {letter!r} is not a single token of this tokenizer; "
                "use choice scoring (--scoring choice)"
            )
        by_letter.append(ids)
    return tuple(by_letter)


def prepare(
    info: ModelInfo, text: str, choices: Sequence[str], label: int, rule: ScoringRule
) -> Query:
    """Tokenise an item for scoring.

    Args:
        info: The tokenizer.
        text: The full prompt, see `pas.data.prompts.full_prompt`.
        choices: The choices' texts, in the order shown.
        label: Index of the correct choice.
        rule: How choices are scored.

    Raises:
        UserError: If a text exceeds the context window, a letter is not a single token, a choice
            adds no token to the prompt, or two choices are the same tokens.
    """
    chat = chat_of(info, rule.prompt)
    if chat is None:
        warn_without_bos(info)
    prompt = encode(info, text).token_ids
    if rule.kind == "letter":
        letters = letter_tokens(info, len(choices), rule.variants)
        return Query((ScoredSequence(prompt, 1, ()),), letters, label)
    gap = " " if chat is None else chat.gap
    wholes = [encode(info, f"{text}{gap}{choice}").token_ids for choice in choices]
    # A tokenizer may merge across the border, so the prompt ends with the last common token.
    shared = min(common_length(prompt, whole) for whole in wholes)
    if not shared:
        raise UserError(
            f"the prompt {text[:60]!r} and its choices have no first token in common; "
            "use another prompt or model"
        )
    if len(set(wholes)) < len(wholes):
        raise UserError(
            f"two choices after the prompt {text[:60]!r} are the same tokens for this model; "
            "give texts that its tokenizer can tell apart"
        )
    tails = tuple(
        ScoredSequence(whole[:-1], len(whole) - shared, whole[shared:]) for whole in wholes
    )
    if not all(tail.targets for tail in tails):
        raise UserError(
            f"a choice adds no token to the prompt {text[:60]!r}; give a longer text for it"
        )
    return Query(tails, (), label)


def query_of(info: ModelInfo, example: Example, rule: ScoringRule) -> Query:
    """Tokenise an item for scoring, with its choices in the order shown.

    Args:
        info: The tokenizer.
        example: The item.
        rule: How choices are scored.

    Raises:
        UserError: See `prepare`; the message names the item.
    """
    text = full_prompt(example, rule.kind, chat_of(info, rule.prompt))
    try:
        return prepare(info, text, example.choices, example.label, rule)
    except UserError as error:  # prompts may begin alike, in a chat template for example
        raise UserError(f"item {example.id!r}: {error}") from error


def unscorable(info: ModelInfo, examples: Sequence[Example], rule: ScoringRule) -> dict[str, str]:
    """Return the reason for each item that this model's tokenizer does not let be scored.

    Args:
        info: The tokenizer.
        examples: The items.
        rule: How choices are scored.

    Returns:
        Reasons by the items' ids, in the order of the items; see `prepare` for what they can be.
    """
    reasons = {}
    for example in examples:
        try:
            query_of(info, example, rule)
        except UserError as error:
            reasons[example.id] = str(error)
    return reasons


def query_key(fingerprint: str, question: Query) -> bytes:
    """Return blake2b-128 (16 bytes) of everything that determines a model's scores of an item.

    The key does not depend on seed or split. Under choice scoring it does not depend on the order
    of the choices either, see `canonical`.
    """
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=16)
    tails = question.sequences if question.letters else sorted(question.sequences)
    digest.update(json.dumps([tails, question.letters]).encode())
    return digest.digest()


def canonical(question: Query) -> list[int]:
    """Return the indices of the choices in the order in which scores are stored.

    Under choice scoring this order does not depend on the order shown. Under letter scoring the
    model sees the order shown, and the stored order is the same.
    """
    if question.letters:
        return list(range(len(question.letters)))
    return sorted(range(len(question.sequences)), key=question.sequences.__getitem__)


def letter_scores(logits: torch.Tensor, letters: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the log of the summed unnormalised probabilities of each letter's tokens.

    Args:
        logits: [..., n_tokens]; the columns are all letters' tokens in the order of `letters`.
        letters: For each choice its token ids.

    Returns:
        [..., n_choices] float32. The common normaliser is left out. It does not change which
        choice has the highest score.
    """
    columns = torch.split(logits.float(), [len(ids) for ids in letters], dim=-1)
    return torch.stack([column.logsumexp(dim=-1) for column in columns], dim=-1)


def target_log_probs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of each position's target token.

    Args:
        logits: [..., n_positions, vocabulary].
        targets: [..., n_positions] int64, broadcastable against the positions.

    Returns:
        [..., n_positions] float32.
    """
    scores = logits.float()
    index = targets.expand(scores.shape[:-1]).unsqueeze(-1)
    return scores.gather(-1, index).squeeze(-1) - scores.logsumexp(dim=-1)


def margin(scores: Sequence[float], label: int) -> float:
    """Return the correct choice's score minus the best score among the others.

    Above 0 the answer is correct and below 0 it is wrong. At 0 it is a tie. See docs/method.md,
    "Margin".

    Args:
        scores: [n_choices], in log units.
        label: Index of the correct choice.

    Returns:
        NaN if a score is not finite.
    """
    if not all(map(isfinite, scores)):
        return nan
    return scores[label] - max(score for i, score in enumerate(scores) if i != label)


def rule_of(
    scoring: str, protocol: Protocol, length_norm: bool, prompt: PromptStyle = PLAIN
) -> ScoringRule:
    """Return the scoring rule of a protocol.

    Args:
        scoring: "letter" or "choice".
        protocol: "paper" uses bare letters; "sound" also letters with a leading space.
        length_norm: Choice scoring: mean log-probability per token instead of the sum.
        prompt: How the text becomes what the model reads.

    Raises:
        UserError: If the scoring is neither "letter" nor "choice".
    """
    if scoring not in ("letter", "choice"):
        raise UserError(f"--scoring {scoring}: give letter or choice")
    variants = "bare" if protocol == "paper" else "both"
    kind: Scoring = "letter" if scoring == "letter" else "choice"
    return ScoringRule(kind, variants, length_norm, prompt)
