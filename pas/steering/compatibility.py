"""Whether a vector fits a model: the same model, a similar one, or none that it can steer."""

import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.models.sites import decoder_blocks

if TYPE_CHECKING:
    from pas.steering.vector import SteeringVector

log = logging.getLogger("pas")


class Fit(NamedTuple):
    """How well a vector fits a model.

    Attributes:
        level: "same": the model that the vector was trained on, by its fingerprint. "similar": the
            same architecture and width, such as a fine-tuned copy, other weights' precision, or a
            model whose fingerprint is not known. "none": the vector cannot be added.
        reason: One sentence, for a message.
    """

    level: Literal["same", "similar", "none"]
    reason: str


def fit(vector: "SteeringVector", model: Any) -> Fit:
    """Compare a vector with a model.

    Args:
        vector: The vector.
        model: A `LoadedModel`, or a transformers model, of which no fingerprint is known.
    """
    network = model.model if isinstance(model, LoadedModel) else model
    if isinstance(model, LoadedModel) and model.fingerprint == vector.fingerprint:
        return Fit("same", "it is the model that the vector was trained on")
    config = network.config.get_text_config()
    name = model.spec.id if isinstance(model, LoadedModel) else type(network).__name__
    width, wanted = config.hidden_size, len(vector.direction)
    if width != wanted:
        return Fit("none", f"model {name} has {width} dimensions, the vector {wanted}")
    layers = len(decoder_blocks(network))
    if vector.layer >= layers:
        return Fit(
            "none",
            f"the vector steers layer {vector.layer}, which does not exist: model {name} has "
            f"layers 0 to {layers - 1}",
        )
    if vector.architecture and vector.architecture != config.model_type:
        return Fit(
            "none",
            f"model {name} is a {config.model_type}, the vector's model a {vector.architecture}",
        )
    return Fit("similar", f"model {name} is not known to be the one the vector was trained on")


def require_fit(vector: "SteeringVector", model: Any) -> Fit:
    """Return how well a vector fits a model, and log it where the model is another one.

    Args:
        vector: The vector.
        model: A `LoadedModel` or a transformers model.

    Raises:
        UserError: If the vector cannot be added to the model's hidden states.
    """
    found = fit(vector, model)
    if found.level == "none":
        raise UserError(
            f"{found.reason}: use the model that the vector was trained on, {vector.model.id}"
        )
    if found.level == "similar" and isinstance(model, LoadedModel):
        log.info("%s; the effect may differ", found.reason)
    return found
