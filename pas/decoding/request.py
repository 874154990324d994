"""What a request for text asks for, and what it gets token by token."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pas.errors import UserError
from pas.steering.intervention import Intervention

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen from the scores.

    Attributes:
        temperature: 0 takes the token with the highest score; else scores are divided by it.
        top_p: Only the likeliest tokens whose probabilities sum to this are drawn from.
        seed: Of the draws of this request alone; None draws anew each time.

    Raises:
        UserError: If a number is out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"temperature {self.temperature}: give a finite number from 0")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p {self.top_p}: give a number above 0 and up to 1")
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise UserError(f"seed {self.seed}: give a whole number of 64 bits")


GREEDY = Sampling()


@dataclass(frozen=True)
class Request:
    """A prompt to continue.

    Attributes:
        token_ids: Of the prompt, at least one.
        max_new_tokens: Largest number of tokens to generate.
        interventions: What is done to the hidden states, each with one strength.
        sampling: How tokens are chosen.
        stop: Texts that end the continuation; they are not part of it.
        n_top: Number of likeliest tokens to report with each token.

    Raises:
        UserError: If no token is asked for, there is no prompt, or an intervention has a strength
            for each row.
    """

    token_ids: tuple[int, ...]
    max_new_tokens: int
    interventions: tuple[Intervention, ...] = ()
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    n_top: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens {self.max_new_tokens}: give 1 or more")
        if not self.token_ids:
            raise UserError("the prompt is empty; give a text")
        if any(len(one.strengths) > 1 for one in self.interventions):
            raise UserError("strengths of single rows: a request is one row, so give one strength")
        if not all(self.stop):
            raise UserError("stop: an empty text would end every continuation; leave it out")


class Token(NamedTuple):
    """A generated token.

    Attributes:
        id: Its id.
        log_prob: Natural logarithm of its probability at temperature 1, steered.
        top: The likeliest tokens' ids and log probabilities, the likeliest first.
    """

    id: int
    log_prob: float
    top: tuple[tuple[int, float], ...]
