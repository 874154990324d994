"""Painless Activation Steering (arXiv 2509.22739): the method, without any orchestration.

docs/library.md shows the names below in use. They are imported on first use, so that importing
`pas` or `pas.errors` loads neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pas.data.chat import prompt_style
    from pas.data.splits import split
    from pas.engine.scoring import ScoringRule
    from pas.errors import UserError
    from pas.evidence.testing import test, vector_of
    from pas.intake.items import read_examples, take_in
    from pas.intake.mapping import DataMapping
    from pas.intake.sources import Source
    from pas.methods.extraction import answer_and_extract, estimate
    from pas.methods.sweep import select, sweep
    from pas.models.loading import load_model
    from pas.models.spec import ModelSpec
    from pas.steering.apply import steer
    from pas.steering.generate import generate, generate_all
    from pas.steering.intervention import Composition, Intervention, load_steering
    from pas.steering.vector import SteeringVector

__all__ = [
    "Composition",
    "DataMapping",
    "Intervention",
    "ModelSpec",
    "ScoringRule",
    "Source",
    "SteeringVector",
    "UserError",
    "answer_and_extract",
    "estimate",
    "generate",
    "generate_all",
    "load_model",
    "load_steering",
    "prompt_style",
    "read_examples",
    "select",
    "split",
    "steer",
    "sweep",
    "take_in",
    "test",
    "vector_of",
]

_MODULE_OF = {
    "Composition": "pas.steering.intervention",
    "DataMapping": "pas.intake.mapping",
    "Intervention": "pas.steering.intervention",
    "ModelSpec": "pas.models.spec",
    "ScoringRule": "pas.engine.scoring",
    "Source": "pas.intake.sources",
    "SteeringVector": "pas.steering.vector",
    "UserError": "pas.errors",
    "answer_and_extract": "pas.methods.extraction",
    "estimate": "pas.methods.extraction",
    "generate": "pas.steering.generate",
    "generate_all": "pas.steering.generate",
    "load_model": "pas.models.loading",
    "load_steering": "pas.steering.intervention",
    "prompt_style": "pas.data.chat",
    "read_examples": "pas.intake.items",
    "select": "pas.methods.sweep",
    "split": "pas.data.splits",
    "steer": "pas.steering.apply",
    "sweep": "pas.methods.sweep",
    "take_in": "pas.intake.items",
    "test": "pas.evidence.testing",
    "vector_of": "pas.evidence.testing",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'pas' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
