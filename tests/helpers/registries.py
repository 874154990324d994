"""Vectors and trainings to register, and a registry that fails where it is told to."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from pas.models.spec import ModelSpec
from pas.steering.vector import SteeringVector
from storage.registry.client import client, create_once
from storage.registry.runs import Registration, TrainingData, TrainingRecord, log_training, open_run
from storage.registry.versions import CONTENT_TAG
from storage.settings import Registry


def vector(strength: float = 2.0) -> SteeringVector:
    return SteeringVector(
        direction=np.linspace(-1, 1, 48, dtype=np.float32), layer=1, site="residual",
        strength=strength, method="PASf", model=ModelSpec("some/model"), fingerprint="f" * 32,
        task="toy", provenance={"seed": 7},
    )  # fmt: skip


def training(name: str, **changed: Any) -> TrainingRecord:
    figure = Figure()
    figure.subplots().plot([1, 2])
    rows = pa.table({"id": ["a"], "choices": [["x", "y"]], "label": [1]})
    record = TrainingRecord(
        vector(),
        TrainingData("toy", "some/dataset@v1", "d" * 32, rows),
        "It eats",
        name,
        {"method": "PASf", "layer": 1, "test_delta": 0.25},
        params={"seed": 7, "layers": [1, 2]},
        metrics={"test_delta": 0.25},
        tables={"sweep": pa.table({"layer": range(600), "accuracy": [0.5] * 600})},
        figures={"sweep": figure},
        lineage={"shards": ["k1", "k2"]},
    )
    return replace(record, **changed)


def log(registry: Registry, name: str, **changed: Any) -> Registration:
    with open_run(registry, experiment="tests/registry", run_name=name) as run_id:
        return log_training(registry, run_id, training(name, **changed))


@contextmanager
def failing_alias(home: Path, alias: str) -> Iterator[None]:
    """Let the database itself refuse to write one alias, as if the run had died there."""
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database:
        for verb in ("insert", "update"):
            database.execute(
                f"create trigger refuse_{verb} before {verb} on registered_model_aliases "
                f"when new.alias = '{alias}' begin select raise(abort, 'refused'); end"
            )
        try:
            yield
        finally:
            for verb in ("insert", "update"):
                database.execute(f"drop trigger refuse_{verb}")


def add_version(registry: Registry, name: str, vector: SteeringVector) -> int:
    """Make a version of a vector that says what it holds, without run and artifacts: in no time."""
    store = client(registry)
    create_once(lambda: store.create_registered_model(name))
    made = store.create_model_version(
        name, "s3://nowhere/at/all", tags={CONTENT_TAG: vector.content}
    )
    return int(made.version)


class Dying:
    """A client of a registry that makes so many writes, and then fails at everything.

    So does the process that is killed: it does not even let go of its lock.
    """

    def __init__(self, store: Any, writes: int) -> None:
        self._store = store
        self._left: int | None = writes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._left is None:
                raise Died
            if name.startswith(("set_", "create_", "delete_", "update_")):
                if not self._left:
                    self._left = None
                    raise Died
                self._left -= 1
            return method(*args, **kwargs)

        return call


class Died(BaseException):
    """Nothing catches it by chance."""
