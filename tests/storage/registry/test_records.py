"""The record of decisions: what is written, and in which order it is read."""

import json
import shutil
from pathlib import Path

import pytest

from storage.registry.client import client
from storage.registry.records import Record, history, judged, next_time, write_record
from storage.settings import Registry
from tests.helpers.registries import add_version, vector

NAME = "pas-tiny-toy"


@pytest.fixture
def registry(tmp_path: Path, empty_database: Path) -> Registry:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    made = Registry(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))
    add_version(made, NAME, vector())
    return made


def test_a_record_is_read_as_it_was_written(registry: Registry) -> None:
    record = Record(
        next_time([]), "promote", 3, 2, "c" * 32, [{"check": "damage", "passed": False}],
        accepted=["damage"], reason="known", automatic=True, state="begun",
    )  # fmt: skip
    write_record(registry, NAME, record)
    assert history(registry, NAME) == [record]
    write_record(registry, NAME, record._replace(state="done"))
    assert history(registry, NAME) == [record._replace(state="done")]
    # MLflow's pages show no tags that begin so.
    assert all(
        tag.startswith("mlflow.") for tag in client(registry).get_registered_model(NAME).tags
    )


def test_records_are_in_order_whoevers_clock_is_slow(registry: Registry) -> None:
    ahead = Record("2999-12-31T23:59:59.999999Z", "promote", 1)
    past = [ahead]
    for version in (2, 3):
        past.append(Record(next_time(past), "promote", version, version - 1))
    for record in reversed(past):
        write_record(registry, NAME, record)
    assert [record.version for record in history(registry, NAME)] == [1, 2, 3]
    assert past[1].time == "3000-01-01T00:00:00.000000Z"


def test_records_of_older_versions_are_read(registry: Registry) -> None:
    time = "2026-01-01T00:00:00.000000Z"
    gates = [{"gate": "test accuracy", "passed": True, "value": 0.71}]
    facts = {"time": time, "action": "promote", "version": 2, "replaced": 1, "gates": gates}
    text = json.dumps(facts)
    client(registry).set_registered_model_tag(NAME, f"pas.promotion.{time}", text)
    [record] = history(registry, NAME)
    assert (record.action, record.version, record.replaced) == ("promote", 2, 1)
    assert record.findings == gates and record.state == "done"
    assert record.sentence == "promoted on 2026-01-01 in place of version 1"
    assert judged([record]) == {1, 2}
