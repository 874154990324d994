"""The document `steering.json`: what each of its fields may hold, and its schema's number."""

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

from pas.data.chat import PromptStyle
from pas.models.spec import SITES, Dtype, ModelSpec, Quantization

# 2: `architecture`, and a file that holds everything.
SCHEMA = 2


class _Rule(NamedTuple):
    """What a field may hold: a test, and its words for a message."""

    holds: Callable[[Any], bool]
    wanted: str


def _one_of(*known: str | None) -> _Rule:
    names = ", ".join("null" if name is None else name for name in known)
    return _Rule(lambda value: value in known, f"one of {names}")


def _is_finite(value: Any) -> bool:
    # A whole number may be too large for a float.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


_TEXT = _Rule(lambda value: isinstance(value, str), "text")
_TEXT_OR_NULL = _Rule(lambda value: value is None or isinstance(value, str), "text or null")
_YES_OR_NO = _Rule(lambda value: isinstance(value, bool), "true or false")
_OBJECT = _Rule(lambda value: isinstance(value, dict), "an object")
_VECTOR = {
    "layer": _Rule(lambda value: type(value) is int and value >= 0, "a whole number from 0"),
    "site": _one_of(*SITES),
    "strength": _Rule(_is_finite, "a finite number"),
    "method": _TEXT,
    "model": _OBJECT,
    "fingerprint": _TEXT,
    "task": _TEXT,
}
_VECTOR_OPTIONAL = {
    "architecture": _TEXT,
    "provenance": _OBJECT,
    "prompt": _OBJECT,
    "schema": _Rule(lambda value: type(value) is int and value >= 1, "a whole number from 1"),
    "sha256": _TEXT_OR_NULL,
}
_MODEL_OPTIONAL = {
    "revision": _TEXT_OR_NULL,
    "dtype": _one_of(*get_args(Dtype)),
    "device": _TEXT,
    "quantization": _one_of(None, *get_args(Quantization)),
    "trust_remote_code": _YES_OR_NO,
}
_PROMPT_OPTIONAL = {
    "kind": _one_of("plain", "chat"),
    "system": _TEXT_OR_NULL,
    "close_thinking": _YES_OR_NO,
    "template": _TEXT,
}


def read_facts(content: bytes) -> dict[str, Any]:
    """Return the fields of a vector but the direction, and `sha256`, None in older files.

    Raises:
        ValueError: Naming the first field that is not as `SteeringVector.save` writes it.
    """
    try:
        facts: dict[str, Any] = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from error
    schema = facts.get("schema", 1) if isinstance(facts, dict) else 1
    if type(schema) is int and schema > SCHEMA:
        raise ValueError(f"schema {schema} is of a newer release than this one: update it")
    _check("", facts, _VECTOR, _VECTOR_OPTIONAL)
    _check("model.", facts["model"], {"id": _TEXT}, _MODEL_OPTIONAL)
    _check("prompt.", facts.get("prompt", {}), {}, _PROMPT_OPTIONAL)
    facts.pop("schema", None)
    # The person who loads a vector decides whether to run code that the model brings.
    model = ModelSpec(**facts["model"] | {"trust_remote_code": False})
    prompt = PromptStyle(**facts.get("prompt", {}))
    return {"sha256": None} | facts | {"model": model, "prompt": prompt}


def _check(place: str, facts: Any, required: dict[str, _Rule], optional: dict[str, _Rule]) -> None:
    if not isinstance(facts, dict):
        raise ValueError("it is no JSON object")
    for name, rule in (required | optional).items():
        if name in facts:
            if not rule.holds(facts[name]):
                raise ValueError(
                    f"field {place}{name} is {json.dumps(facts[name])[:80]}, not {rule.wanted}"
                )
        elif name in required:
            raise ValueError(f"field {place}{name} is missing")
    if unknown := facts.keys() - required.keys() - optional.keys():
        raise ValueError(f"field {place}{min(unknown)} is unknown")
