"""How a multiple-choice answer is read off the model: by letter, or by likelihood of the text.

METHOD.md, "Prompt, scoring, injection" and the last section. Both give one score a choice, and
the prediction is the choice with the highest score (the first of equals).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_uppercase
from typing import NamedTuple

import torch

from pas.data.examples import Example
from pas.data.prompts import Scoring, encode, full_prompt
from pas.data.splits import Protocol
from pas.engine.trie import common_length
from pas.errors import UserError
from pas.models.loading import ModelInfo


@dataclass(frozen=True)
class ScoringRule:
    """How choices are scored.

    Attributes:
        kind: "letter" reads next-token logits of the letters after a prompt that lists the
            choices; "choice" reads the log-probability of each choice's text after the question.
        variants: Letter scoring: "bare" reads `A`; "both" sums the probabilities of `A` and ` A`.
        length_norm: Choice scoring: mean per token instead of the sum.
    """

    kind: Scoring = "letter"
    variants: str = "both"
    length_norm: bool = True

    @property
    def name(self) -> str:
        """A name that tells the rules apart."""
        if self.kind == "letter":
            return f"letter-{self.variants}"
        return "choice-mean" if self.length_norm else "choice-sum"


class ScoredSequence(NamedTuple):
    """One sequence to run, and the positions at its end that steering touches.

    Attributes:
        token_ids: What is fed.
        n_steered: The last `n_steered` positions are steered: the last prompt token and, in
            choice scoring, every choice token that predicts another one.
        targets: Choice scoring: the token to predict from each steered position. Letter scoring:
            empty.
    """

    token_ids: tuple[int, ...]
    n_steered: int
    targets: tuple[int, ...]


class Query(NamedTuple):
    """An item made ready for scoring.

    Attributes:
        sequences: One sequence (letter scoring) or one for each choice.
        letters: Letter scoring: for each choice the token ids whose probabilities are summed.
        label: Index of the correct choice.
    """

    sequences: tuple[ScoredSequence, ...]
    letters: tuple[tuple[int, ...], ...]
    label: int


@lru_cache(maxsize=64)
def letter_tokens(info: ModelInfo, n_choices: int, variants: str) -> tuple[tuple[int, ...], ...]:
    """Return for each letter the token ids that stand for it.

    Raises:
        UserError: If a bare letter is not a single token of this tokenizer.
    """
    found = []
    for letter in ascii_uppercase[:n_choices]:
        texts = (letter,) if variants == "bare" else (letter, f" {letter}")
        encoded = [info.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        ids = tuple(dict.fromkeys(e[0] for e in encoded if len(e) == 1))
        if len(encoded[0]) != 1:
            raise UserError(
                f"the letter {letter!r} is not a single token of this tokenizer; "
                "use --scoring choice"
            )
        found.append(ids)
    return tuple(found)


def prepare(
    info: ModelInfo, text: str, choices: Sequence[str], label: int, rule: ScoringRule
) -> Query:
    """Tokenise an item for scoring.

    Args:
        info: Of the model.
        text: The full prompt, see `pas.data.prompts.full_prompt`.
        choices: In the order shown.
        label: Index of the correct one.
        rule: How choices are scored.

    Raises:
        UserError: If a text exceeds the context window or a letter has no token of its own.
    """
    prompt = encode(info, text).token_ids
    if rule.kind == "letter":
        letters = letter_tokens(info, len(choices), rule.variants)
        return Query((ScoredSequence(prompt, 1, ()),), letters, label)
    wholes = [encode(info, f"{text} {choice}").token_ids for choice in choices]
    # A tokenizer may merge across the border, so the prompt ends where all texts still agree.
    shared = min(common_length(prompt, whole) for whole in wholes)
    if not shared:
        raise UserError(f"the prompt {text[:60]!r} and its choices share no first token")
    tails = tuple(
        ScoredSequence(whole[:-1], len(whole) - shared, whole[shared:]) for whole in wholes
    )
    if not all(tail.targets for tail in tails):
        raise UserError(f"a choice adds no token to the prompt {text[:60]!r}")
    return Query(tails, (), label)


def query_of(info: ModelInfo, example: Example, rule: ScoringRule) -> Query:
    """Make an item ready for scoring, its choices in the order shown; see `prepare`.

    Raises:
        UserError: If a text exceeds the context window or a letter has no token of its own.
    """
    text = full_prompt(example, rule.kind)
    return prepare(info, text, example.choices, example.label, rule)


def query_key(fingerprint: str, question: Query) -> bytes:
    """Return blake2b-128 of all that determines a model's scores, whatever the seed or split.

    Choices that are scored by their text are not told apart by their order, see `canonical`.
    """
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=16)
    tails = question.sequences if question.letters else sorted(question.sequences)
    digest.update(json.dumps([tails, question.letters]).encode())
    return digest.digest()


def canonical(question: Query) -> list[int]:
    """Return the choices in an order that does not depend on how they were shown.

    Letter scoring shows them, so there it is the order shown.
    """
    if question.letters:
        return list(range(len(question.letters)))
    return sorted(range(len(question.sequences)), key=question.sequences.__getitem__)


def letter_scores(logits: torch.Tensor, letters: Sequence[Sequence[int]]) -> torch.Tensor:
    """Log of the summed unnormalised probabilities of each letter's tokens.

    Args:
        logits: [..., n_tokens], the columns being all letters' tokens in the order of `letters`.
        letters: For each choice its token ids.

    Returns:
        [..., n_choices] float32. A common normaliser is left out: it moves no argmax.
    """
    columns = torch.split(logits.float(), [len(ids) for ids in letters], dim=-1)
    return torch.stack([column.logsumexp(dim=-1) for column in columns], dim=-1)


def target_log_probs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-probability of each position's target token.

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
    """Return the right choice's score minus the best other one's; above 0 is a right answer.

    At 0 the answer is the first of the equals, be it the right one or not.
    """
    return scores[label] - max(score for i, score in enumerate(scores) if i != label)


def rule_of(scoring: str, protocol: Protocol, length_norm: bool) -> ScoringRule:
    """Return how the protocol scores.

    Raises:
        UserError: If the scoring is neither "letter" nor "choice".
    """
    if scoring not in ("letter", "choice"):
        raise UserError(f"--scoring {scoring}: give letter or choice")
    variants = "bare" if protocol == "paper" else "both"
    return ScoringRule("letter" if scoring == "letter" else "choice", variants, length_norm)
