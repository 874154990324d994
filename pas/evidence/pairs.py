"""Open-ended evaluation: texts with and without a vector, compared blind, and the win rate.

docs/method.md, "Open-ended evaluation".
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.progress import counted
from pas.steering.generate import generate_all
from pas.steering.intervention import Composition
from pas.steering.vector import SteeringVector

Choice = Literal["first", "second", "tie"]
Judge = Callable[["Pair"], Choice]


class Pair(NamedTuple):
    """Two continuations of a prompt, in an order that does not tell which is which.

    Attributes:
        id: Of the pair.
        prompt: What was continued.
        first: One continuation.
        second: The other.
        steered: Which of them was steered.
    """

    id: str
    prompt: str
    first: str
    second: str
    steered: Literal["first", "second"]


class WinRate(NamedTuple):
    """How often the steered text was judged the better one.

    Attributes:
        n: Pairs.
        wins: Pairs in which the steered text was better.
        losses: Pairs in which the other one was.
        rate: Wins and half the ties, as a share of the pairs.
        low: Lower end of the 95 % interval of the rate (Wilson), where a tie is half a win.
        high: Its upper end.
        p_value: Exact sign test of wins against losses, two-sided.
    """

    n: int
    wins: int
    losses: int
    rate: float
    low: float
    high: float
    p_value: float

    @property
    def ties(self) -> int:
        """Pairs that were not decided."""
        return self.n - self.wins - self.losses


def pairs_of(
    model: LoadedModel,
    vector: SteeringVector | Composition,
    prompts: Sequence[str],
    *,
    strength: float | None = None,
    max_new_tokens: int = 100,
    seed: int = 0,
) -> list[Pair]:
    """Continue prompts with and without a vector, and order each pair by a hash.

    Args:
        model: The model.
        vector: The vector.
        prompts: Texts, rendered as those that the vector was trained on, for both continuations.
        strength: Factor on the vector, its own by default.
        max_new_tokens: Length of a continuation.
        seed: Of the order.

    Raises:
        UserError: As `pas.steering.generate.generate_all` does, or if there are no prompts.
    """
    if not prompts:
        raise UserError("there are no prompts; give at least one")
    plain, steered = (
        generate_all(model, prompts, vector, strength=factor, max_new_tokens=max_new_tokens)
        for factor in (0.0, strength)
    )
    pairs = []
    for number, (prompt, off, on) in enumerate(zip(prompts, plain, steered, strict=True)):
        digest = hashlib.blake2b(f"{seed} {number} {prompt}".encode(), digest_size=8).digest()
        if digest[0] % 2:
            pairs.append(Pair(f"{number + 1}", prompt, on, off, "first"))
        else:
            pairs.append(Pair(f"{number + 1}", prompt, off, on, "second"))
    return pairs


def judged(pairs: Sequence[Pair], judge: Judge) -> list[Choice]:
    """Ask a judge about every pair; two equal texts are a tie without asking."""
    choices: list[Choice] = []
    with counted(len(pairs), "pairs judged") as advance:
        for pair in pairs:
            choices.append("tie" if pair.first == pair.second else judge(pair))
            advance(1)
    return choices


def win_rate(pairs: Sequence[Pair], choices: Sequence[Choice]) -> WinRate:
    """Count how often the steered text was chosen.

    Args:
        pairs: At least one.
        choices: What was chosen in each.
    """
    from scipy.stats import binomtest
    from statsmodels.stats.proportion import proportion_confint

    n = len(pairs)
    wins = sum(p.steered == c for p, c in zip(pairs, choices, strict=True))
    losses = n - wins - sum(c == "tie" for c in choices)
    rate = (wins + (n - wins - losses) / 2) / n
    low, high = proportion_confint(rate * n, n, method="wilson")
    p_value = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return WinRate(n, wins, losses, rate, float(low), float(high), p_value)
