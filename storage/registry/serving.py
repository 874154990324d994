"""The file that MLflow keeps as a vector's model: text or conversation in, steered text out.

It runs wherever MLflow serves the model, so it imports only `pas` (a copy is stored with it),
MLflow and pandas. The base model is loaded by reference. `model_config` can set another `model`
(id or folder), `device`, `dtype`, and `cache_dir` for converted GGUF models on a serving host.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from pas.data.chat import Message, read_messages
from pas.errors import UserError
from pas.models.loading import load_model
from pas.steering.generate import generate
from pas.steering.vector import SteeringVector

_log = logging.getLogger(__name__)


class SteeredModel(PythonModel):  # type: ignore[misc]
    """A base model and its steering vector, which each request may scale or switch off."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the vector and the model it refers to.

        Raises:
            UserError: If the model cannot be loaded, or its width differs from the vector's.
        """
        config = {key: value for key, value in (context.model_config or {}).items() if value}
        cache_dir = Path(config.pop("cache_dir", Path.home() / ".cache" / "pas"))
        if "model" in config:
            config["id"] = config.pop("model")
        self.vector = SteeringVector.load(Path(context.artifacts["vector"]))
        spec = replace(self.vector.model, **config)
        self.model = load_model(spec, cache_dir)
        width, wanted = self.model.info.d_model, len(self.vector.direction)
        if width != wanted:
            raise UserError(
                f"model {spec.id} has {width} dimensions, the vector {wanted}: serve it with "
                f"the model it was trained on, {self.vector.model.id}"
            )
        if self.model.fingerprint != self.vector.fingerprint:
            # Other library versions or another dtype also differ, and may serve well.
            _log.warning("model %s differs from the one that the vector was trained on", spec.id)

    # Of the type hints that MLflow takes without a warning, a table's has it check nothing.
    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[str]:
        """Continue each prompt greedily.

        A text is rendered as the texts that the vector was trained on: plain, or as the user's
        message in the model's chat template. A conversation always goes through the template.

        Args:
            context: MLflow's; not needed.
            model_input: A list of texts; or a table or mapping with the column `prompt` of texts,
                or the column `messages` of conversations, which are lists of messages with `role`
                and `content`.
            params: `strength` (the vector's own by default), `enabled` (False: unsteered) and
                `max_new_tokens`.

        Returns:
            The continuations, without the prompts.

        Raises:
            MlflowException: If the input has neither, or one of them is not usable; a server
                answers with status 400.
        """
        options = params or {}
        requests = _requests(model_input)
        try:
            return [
                generate(
                    self.model,
                    request,
                    self.vector,
                    strength=options.get("strength") if options.get("enabled", True) else 0.0,
                    max_new_tokens=options.get("max_new_tokens", 60),
                )
                for request in requests
            ]
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def _requests(model_input: Any) -> list[str] | list[list[Message]]:
    """Return the texts or conversations of a request, in whichever form MLflow hands it over.

    Raises:
        MlflowException: If it has neither the column `prompt` nor `messages`, or both, or what is
            there is neither text nor a conversation.
    """
    if isinstance(model_input, Mapping | pd.DataFrame):
        names = [name for name in ("prompt", "messages") if name in model_input]
        if len(names) != 1:
            known = ", ".join(map(str, model_input)) or "none"
            raise MlflowException.invalid_parameter_value(
                "give a list of texts, or a column `prompt` or `messages`; the columns here are: "
                + known
            )
        model_input = model_input[names[0]]
        if names == ["messages"]:
            return _conversations(model_input)
    if isinstance(model_input, np.ndarray):
        model_input = model_input.ravel().tolist()
    prompts = [model_input] if isinstance(model_input, str) else list(model_input)
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise MlflowException.invalid_parameter_value(
                f"a prompt is text, not {type(prompt).__name__}: {str(prompt)[:80]}"
            )
    return prompts


def _conversations(column: Any) -> list[list[Message]]:
    """Return the conversations of a column `messages`, or the one conversation that it is.

    Raises:
        MlflowException: If a message has no role or content.
    """
    held = list(column)
    if held and isinstance(held[0], Mapping):
        held = [held]
    try:
        return [read_messages(list(messages)) for messages in held]
    except (UserError, TypeError) as error:
        raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(SteeredModel())
