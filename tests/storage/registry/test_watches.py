"""The trend of a vector on fresh rows."""

from pathlib import Path

from storage.registry.client import client
from storage.registry.watches import log_watch
from storage.settings import Registry, settings


def test_each_vector_and_source_has_a_run_with_a_step_for_each_look(home: Path) -> None:
    registry: Registry = settings().open_registry()

    def look(name: str, source: str, value: float) -> tuple[str, int]:
        return log_watch(registry, "pas", name, source, {"fresh/gain": value})

    first, step = look("pas-a-b", "s3://bucket/week's.csv?signature=secret", 0.1)
    assert step == 0 and look("pas-a-b", "s3://bucket/week's.csv?signature=other", 0.2) == (
        first,
        1,
    )
    others = {look("pas-a-c", "s3://bucket/week's.csv", 0)[0], look("pas-a-b", "other", 0)[0]}
    assert len(others | {first}) == 3

    store = client(registry)
    history = store.get_metric_history(first, "fresh/gain")
    assert [(m.step, m.value) for m in history] == [(0, 0.1), (1, 0.2)]
    run = store.get_run(first)
    assert run.info.run_name == "watch pas-a-b" and run.info.status == "FINISHED"
    assert "secret" not in str(run.to_dictionary())
