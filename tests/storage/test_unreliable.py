"""Stores behind a network that is slow and cuts connections: what is written is whole and once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
import s3fs

from deploy.processes import free_port, is_up, wait_for, without_settings
from storage.lake.files import Lake, open_lake
from storage.lake.verification import verify
from storage.registry import lock
from storage.registry.client import client
from storage.registry.promotion import promote, rollback
from storage.registry.versions import CHAMPION, find_aliases, find_versions, load_vector
from storage.settings import Registry
from tests.helpers.object_store import bucket
from tests.helpers.registries import log, vector
from tests.helpers.servers import MLFLOW, process
from tests.helpers.unreliable import unreliable

pytestmark = pytest.mark.faults
FILES = 40
VERSIONS = 3
TRIES = 8


def table(number: int) -> pa.Table:
    return pa.table({"n": range(number * 1000, number * 1000 + 1000)})


def insisting(action: Callable[[], object]) -> None:
    """Try again, as a task of Prefect does, or a person."""
    for left in reversed(range(TRIES)):
        try:
            action()
        except Exception:
            if not left:
                raise
        else:
            return


def test_a_lake_behind_a_bad_network(monkeypatch: pytest.MonkeyPatch, tally: Any) -> None:
    with bucket() as url:
        server = urlsplit(os.environ["AWS_ENDPOINT_URL"])
        with unreliable(str(server.hostname), server.port or 80, share=0.3, delay=0.002) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
            s3fs.S3FileSystem.clear_instance_cache()
            lake = open_lake(f"{url}/lake")
            for number in range(FILES):
                lake.write_table(f"stages/x/{number}.parquet", table(number))
                assert lake.read_table(f"stages/x/{number}.parquet").equals(table(number))
            assert len(lake.list()) == FILES
            assert proxy.cut >= 5, (proxy.cut, proxy.connections)
            tally.add("faults", injected=proxy.cut)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.geturl())
        s3fs.S3FileSystem.clear_instance_cache()
        direct = Lake(f"{url}/lake")
        for number in range(FILES):
            address = f"stages/x/{number}.parquet"
            assert verify(direct, address).ok and direct.read_table(address).equals(table(number))
        assert lake.stray_files(0) == []
        tally.add("faults", survived=proxy.cut)


def test_a_registry_behind_a_bad_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Any
) -> None:
    monkeypatch.setattr(lock, "DEAD_AFTER", 2.0)  # letting go of a lock may fail, too
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    port, name = free_port(), "pas-model-toy"
    command = [*MLFLOW, "server", "--host", "127.0.0.1", "--port", str(port),
               "--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}",
               "--artifacts-destination", str(tmp_path / "artifacts")]  # fmt: skip
    with process("mlflow", command, without_settings(), tmp_path):
        wait_for("MLflow", lambda: is_up(f"http://127.0.0.1:{port}"))
        with unreliable("127.0.0.1", port, share=1, reach=250_000) as proxy:
            behind = Registry(f"http://127.0.0.1:{proxy.port}")

            for strength in range(1, VERSIONS + 1):
                insisting(lambda s=strength: log(behind, name, vector=vector(float(s))))
            for _ in range(2):
                insisting(lambda: promote(behind, name, 1))
                insisting(lambda: promote(behind, name, 2))
                insisting(lambda: rollback(behind, name))
            assert proxy.cut >= 5, (proxy.cut, proxy.connections)
            tally.add("faults", injected=proxy.cut)
        direct = Registry(f"http://127.0.0.1:{port}")
        versions = find_versions(direct, name)
        held = sorted(load_vector(direct, version).strength for version in versions.values())
        assert held == [float(s) for s in range(1, VERSIONS + 1)], "each once"
        assert find_aliases(direct, name)[CHAMPION] in (1, 2)
        store = client(direct)
        for version in versions.values():
            # A registration that fails after its version was made is found by the next try.
            assert store.get_run(version.run_id).info.status in ("FINISHED", "FAILED")
        tally.add("faults", survived=proxy.cut)
