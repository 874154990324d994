"""Settings and targets of fine-tuning (docs/method.md, "Studies").

This module does not import the libraries that `pas.finetune.lora` needs.
"""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from pas.errors import UserError


@dataclass(frozen=True)
class FineTuning:
    """How a model is fine-tuned. The description of each field is in its metadata."""

    rank: int = field(
        default=16, metadata={"description": "Of the two factors of every linear layer's change."}
    )
    alpha: float = field(
        default=32.0, metadata={"description": "The change is scaled by alpha / rank."}
    )
    dropout: float = field(
        default=0.05,
        metadata={
            "description": "Share of an adapter's inputs dropped while training, 0 to below 1."
        },
    )
    learning_rate: float = field(
        default=2e-4, metadata={"description": "Largest learning rate of AdamW, per step."}
    )
    epochs: int = field(
        default=3,
        metadata={
            "description": "Times that every training item is seen. If none is answered wrongly "
            "afterwards, only CAA has a vector: fewer epochs leave room for the others."
        },
    )
    batch_size: int = field(default=16, metadata={"description": "Items per step."})
    max_steps: int | None = field(
        default=None, metadata={"description": "End after so many steps, even if epochs are left."}
    )

    # As a flow parameter: see `pas.recipe.Recipe`.
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Check the values, before a model is loaded.

        Raises:
            UserError: If a value is out of range. The message names the option and the range.
        """
        for name in ("rank", "epochs", "batch_size", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{_option(name)} {value}: give a whole number of 1 or more")
        for name in ("alpha", "learning_rate"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UserError(f"{_option(name)} {value}: give a number above 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"--dropout {self.dropout}: give a number from 0 to below 1")

    def items_seen(self, n: int) -> int:
        """Return how many items a training sees, of n; each pass over an item counts."""
        every = self.epochs * n
        return every if self.max_steps is None else min(every, self.max_steps * self.batch_size)


class Target(NamedTuple):
    """The tokens that are trained on for one item.

    Attributes:
        token_ids: The prompt and the correct answer.
        labels: As many ids: the answer's tokens, and `IGNORED` for the prompt's.
    """

    token_ids: tuple[int, ...]
    labels: tuple[int, ...]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
