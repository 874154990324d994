"""The file that MLflow keeps as a vector's model: text or conversation in, steered text out.

It runs wherever MLflow serves the model, so it imports only `pas` (a copy is stored with it),
MLflow and pandas. The base model is loaded by reference. `model_config` can set another `model`
(id or folder), `device`, `dtype`, and `cache_dir` for converted GGUF models on a serving host; by
default that is the folder of the rest, `PAS_CACHE_DIR` or the user's cache folder.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

import pas


def _digest(folder: Path) -> str:
    """Return a digest of a package's files."""
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            name = file.relative_to(folder).as_posix()
            found.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def _require_own_code(own: Path) -> None:
    """Refuse to run with another `pas` than the one that is packed with this model.

    Python has one module of a name in a process: with the code of the model that was loaded first,
    or of the `pas` that was imported before, this one might answer otherwise and nobody would know.

    Args:
        own: The copy that MLflow keeps beside this file.

    Raises:
        MlflowException: If the code in this process differs.
    """
    if not own.is_dir():  # not a packed model, but the project itself
        return
    # Worked out once: the files that it was imported from may be replaced or removed.
    loaded = vars(pas).setdefault("__code_digest__", _digest(Path(pas.__file__).parent))
    if loaded != _digest(own):
        raise MlflowException(
            "the code that is packed with this vector differs from the `pas` that this process has "
            f"imported from {Path(pas.__file__).parent}. Load it in a process of its own, before "
            "anything imports `pas`; vectors with the same code can share one"
        )


_require_own_code(Path(__file__).with_name("code") / "pas")

from pas.data.chat import Message, read_messages, request_text
from pas.data.prompts import encode
from pas.decoding.request import Request, Sampling
from pas.decoding.scheduler import Piece, Scheduler
from pas.errors import UserError
from pas.models.cache import default_cache_dir
from pas.models.loading import load_model
from pas.steering.intervention import Intervention
from pas.steering.vector import SteeringVector

NO_SEED = -1  # MLflow's parameters have a type, and no null
_QUEUE = 100_000  # prompts of one table
_log = logging.getLogger(__name__)


class SteeredModel(PythonModel):  # type: ignore[misc]
    """A base model and its steering vector, which each request may scale or switch off."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the vector and the model it refers to.

        Raises:
            UserError: If the model cannot be loaded, or its width differs from the vector's.
        """
        config = {key: value for key, value in (context.model_config or {}).items() if value}
        # The settings that read this elsewhere are not packed with the model.
        usual = os.environ.get("PAS_CACHE_DIR") or default_cache_dir()
        cache_dir = Path(config.pop("cache_dir", usual)).expanduser()
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
        self.version = _version(Path(context.artifacts["vector"]).parents[1])
        self._scheduler = Scheduler(self.model, queue_size=_QUEUE)
        self._scheduler.start()

    # Of the type hints that MLflow takes without a warning, a table's has it check nothing.
    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[Any]:
        """Continue each prompt.

        A text is rendered as the texts that the vector was trained on: plain, or as the user's
        message in the model's chat template. A conversation always goes through the template.
        Prompts run together in one batch, also those of several requests at the same time.

        Args:
            context: MLflow's; not needed.
            model_input: A list of texts; or a table or mapping with the column `prompt` of texts,
                or the column `messages` of conversations, which are lists of messages with `role`
                and `content`.
            params: `strength` (the vector's own by default), `enabled` (False: unsteered),
                `max_new_tokens`, `temperature` (0 by default: the likeliest token), `top_p`,
                `seed`, and `describe`. MLflow leaves out others, with a warning in the server's
                log.

        Returns:
            The continuations, without the prompts. With `describe`, dicts of `text`, `vector`,
            `version` (both None where it was not loaded from the registry), `run_id`, `model`,
            `method`, `layer`, and `strength`, the one that was used.

        Raises:
            MlflowException: If the input has neither, or one of them or a parameter is not usable;
                a server answers with status 400.
        """
        options = params or {}
        requests = self._requests(model_input, options)
        texts = [""] * len(requests)
        for number, text in self._pieces(requests):
            texts[number] += text
        if not options.get("describe", False):
            return texts
        about = self.version | {
            "model": self.model.spec.id,
            "method": self.vector.method,
            "layer": self.vector.layer,
            "strength": self._strength(options),
        }
        return [{"text": text} | about for text in texts]

    def predict_stream(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: Any,
        params: dict[str, Any] | None = None,
    ) -> Iterator[str]:
        """Yield the continuation of one prompt piece by piece.

        Args:
            context: MLflow's; not needed.
            model_input: As for `predict`, with one text or conversation.
            params: As for `predict`, without `describe`.

        Raises:
            MlflowException: As `predict` does, or if there is not one prompt.
        """
        requests = self._requests(model_input, params or {})
        if len(requests) != 1:
            raise MlflowException.invalid_parameter_value(
                f"a stream continues one prompt, and there are {len(requests)}"
            )
        yield from (text for _, text in self._pieces(requests) if text)

    def _strength(self, options: Mapping[str, Any]) -> float:
        if not options.get("enabled", True):
            return 0.0
        strength = options.get("strength")
        return self.vector.strength if strength is None else float(strength)

    def _requests(self, model_input: Any, options: Mapping[str, Any]) -> list[Request]:
        """Return what is asked for, checked.

        Raises:
            MlflowException: If something is wrong with it.
        """
        info, seed = self.model.info, options.get("seed", NO_SEED)
        try:
            steering = Intervention(self.vector, self._strength(options))
            return [
                Request(
                    encode(info, request_text(info, prompt, self.vector.prompt)).token_ids,
                    int(options.get("max_new_tokens", 60)),
                    (steering,),
                    Sampling(
                        float(options.get("temperature", 0.0)),
                        float(options.get("top_p", 1.0)),
                        None if seed == NO_SEED else int(seed) + number,
                    ),
                )
                for number, prompt in enumerate(_prompts(model_input))
            ]
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _pieces(self, requests: list[Request]) -> Iterator[tuple[int, str]]:
        """Yield the texts of requests as they arrive, each with the request's number.

        Raises:
            MlflowException: If the scores overflow.
        """
        inbox: SimpleQueue[tuple[int, Piece]] = SimpleQueue()
        try:
            handles = self._scheduler.submit(requests, lambda number, p: inbox.put((number, p)))
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        left = len(requests)
        try:
            while left:
                number, piece = inbox.get()
                if isinstance(piece.error, UserError):
                    raise MlflowException.invalid_parameter_value(str(piece.error))
                if piece.error is not None:
                    raise piece.error
                left -= piece.finish is not None
                yield number, piece.text
        finally:
            for handle in handles:
                handle.cancel()


def _version(folder: Path) -> dict[str, Any]:
    """Return what identifies the version in the folder of a model that MLflow has fetched."""
    # MLflow writes this file where it fetches a model of its registry.
    file = folder / "registered_model_meta"
    meta = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    number = meta.get("model_version")
    return {
        "vector": meta.get("model_name"),
        "version": None if number is None else int(number),
        "run_id": Model.load(str(folder)).run_id,
    }


def _prompts(model_input: Any) -> Sequence[str | list[Message]]:
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
