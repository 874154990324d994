"""Read a vector off a text: how far each token's hidden state lies along the direction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from pas.data.prompts import encode
from pas.data.text import TextStream
from pas.models.loading import LoadedModel
from pas.models.sites import observing, text_decoder
from pas.steering.compatibility import require_fit

if TYPE_CHECKING:
    from pas.steering.vector import SteeringVector


class Reading(NamedTuple):
    """The tokens of a text, and the projection of each one.

    Attributes:
        tokens: The text of each token; together they are the text. That of a special token is
            empty.
        values: [n_tokens] float32: the component of the hidden state along the direction, in units
            of the direction's norm. Strength 1 at every position raises each by 1.
    """

    tokens: tuple[str, ...]
    values: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def mean(self) -> float:
        """Mean over the tokens but the first, whose hidden state is unlike all others."""
        return float((self.values[1:] if len(self.values) > 1 else self.values).mean())


@torch.inference_mode()
def read(vector: "SteeringVector", model: LoadedModel, texts: Sequence[str]) -> list[Reading]:
    """Return the projection of every token's hidden state onto a vector's direction.

    It is read where the vector is added: at the output of its site in its block, with the model as
    it is. Within a context that steers the model before that place, the effect shows.

    Args:
        vector: The vector.
        model: The model.
        texts: Plain texts. They are not put into a chat template.

    Raises:
        UserError: If the vector does not fit the model, or a text is empty or too long.
    """
    require_fit(vector, model)
    direction = torch.from_numpy(vector.direction).to(model.device)
    square = float((direction * direction).sum()) or 1.0
    readings = []
    for text in texts:
        ids = encode(model.info, text).token_ids
        seen: list[torch.Tensor] = []

        def see(_: int, hidden: torch.Tensor, seen: list[torch.Tensor] = seen) -> None:
            seen.append(hidden[0].float())

        with model.lock, observing(model.model, (vector.layer,), vector.site, see):
            # The decoder without the output head, because no logits are needed.
            text_decoder(model.model)(input_ids=torch.tensor([ids], device=model.device))
        along = seen[0].to(model.device) @ direction / square
        tokens = tuple(_pieces(model.tokenizer, ids))
        readings.append(Reading(tokens, along.cpu().numpy()))
    return readings


def _pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Return the text of each token.

    A character of several tokens stands at its last one; the others are empty.
    """
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in ids]
    pieces[-1] += stream.finish()
    return pieces
