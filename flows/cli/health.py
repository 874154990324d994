"""`pas doctor`: checks of what a training needs, all at once and within a time limit."""

import ctypes
import errno
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import typer

from flows.cli.display import Json, print_json, print_table

if TYPE_CHECKING:
    from tasks.prefect_api import PrefectServer

UNWELL = 1
LIMIT = 10.0  # seconds for all checks
_ANSWER = 4.0  # seconds for one answer of a server; some checks need two
_SKEW = 5.0  # seconds that clocks may differ
_FREE = 2**30


class Check(NamedTuple):
    """One check: what was looked at, whether it is well, what was found."""

    name: str
    ok: bool
    found: str


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", help=doctor.__doc__)(doctor)


def doctor(json: Json = False) -> None:
    """Check what a training needs: libraries, device, stores, servers, workers, schedules.

    The exit code is 1 for a problem. Runs that a killed process left open are closed.
    """
    from storage.settings import settings

    # Its own patience is minutes.
    os.environ |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
    if settings().has_registry and _check("MLflow store", _store_answers).ok:
        # Before the clock starts, and not in two threads, which would meet half-made modules.
        import_module("storage.registry.runs")
    checks = within(
        LIMIT,
        {
            "libraries": _libraries,
            "device": _device,
            "home": _home,
            "lake": _lake,
            "MLflow store": _store,
            "artifacts": _artifacts,
            "Prefect": _prefect,
            "workers": _workers,
            "schedules": _schedules,
            "runs of killed processes": _killed_runs,
            "demo model": _demo_model,
        },
    )
    if json:
        print_json([check._asdict() for check in checks])
    else:
        rows = [("ok" if c.ok else "PROBLEM", c.name, c.found) for c in checks]
        print_table("pas doctor", ("", "check", "found"), rows)
    if not all(check.ok for check in checks):
        sys.exit(UNWELL)


def within(seconds: float, looks: dict[str, Callable[[], str]]) -> list[Check]:
    """Run checks at the same time; one that has not ended in time is a problem.

    Args:
        seconds: For all of them.
        looks: By name; each returns what it found, or raises what is wrong.
    """
    done: SimpleQueue[Check] = SimpleQueue()
    for name, look in looks.items():
        Thread(target=_put_check, args=(done, name, look), daemon=True).start()
    found: dict[str, Check] = {}
    end = time.monotonic() + seconds
    while len(found) < len(looks):
        try:
            check = done.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        found[check.name] = check
    late = f"no answer within {seconds:g} s: see that its server or disk can be reached from here"
    return [found.get(name, Check(name, False, late)) for name in looks]


def _put_check(done: SimpleQueue[Check], name: str, look: Callable[[], str]) -> None:
    done.put(_check(name, look))


def _check(name: str, look: Callable[[], str]) -> Check:
    from pas.errors import UserError
    from storage.http import redacted

    try:
        return Check(name, True, look())
    except UserError as error:
        return Check(name, False, redacted(str(error)))
    except Exception as error:  # every problem is reported, none ends the command
        first = (str(error).splitlines() or [""])[0]
        return Check(name, False, redacted(f"{type(error).__name__}: {first}"))


def _libraries() -> str:
    from importlib.metadata import version

    names = ("torch", "transformers", "prefect", "mlflow", "duckdb", "pyarrow", "datasets")
    return ", ".join(f"{name} {version(name)}" for name in names)


def _device() -> str:
    """Say what torch will run on, without importing it (seconds): driver, and what it is built for.

    Raises:
        OSError: If there is a GPU and torch is built without CUDA.
    """
    gpus = _nvidia_gpus()
    built = re.search(r"^cuda.*=\s*'([\d.]+)'", _torch_build(), re.MULTILINE)
    if gpus and built is None:
        raise OSError(f"{', '.join(gpus)}, but torch is built without CUDA; see pytorch.org")
    if gpus:
        return f"{', '.join(gpus)}; torch is built for CUDA {built[1] if built else ''}"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "the GPU of this Apple chip (mps)"
    return f"CPU, {os.cpu_count()} cores; no NVIDIA driver (training large models needs a GPU)"


def _nvidia_gpus() -> list[str]:
    """Return the GPUs that the driver shows to this process, asked through its own library."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    gpus = []
    for device in range(count.value):
        name, total = ctypes.create_string_buffer(100), ctypes.c_size_t()
        cuda.cuDeviceGetName(name, len(name), device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device)
        gpus.append(f"{name.value.decode()} ({total.value / 2**30:.0f} GiB)")
    return gpus


def _torch_build() -> str:
    """Return the text of torch's version file, which says what it is built for."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        raise ModuleNotFoundError("torch is not installed")
    return Path(torch.origin).with_name("version.py").read_text()


def _home() -> str:
    from pas.errors import UserError
    from storage.settings import settings

    root = settings().root
    there = _nearest(root)
    if not there.is_dir():
        raise UserError(f"PAS_HOME {root}: {there} is no folder; name another one")
    _try_writing(there, f"PAS_HOME {root}")
    free = shutil.disk_usage(there).free
    if free < _FREE:
        raise UserError(f"PAS_HOME {root}: less than 1 GiB free; make room or name another disk")
    return f"{root}, {free / 2**30:.0f} GiB free"


def _nearest(folder: Path) -> Path:
    """Return the folder, or where it will be made: nothing is made to look at it."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _try_writing(folder: Path, setting: str) -> None:
    from pas.errors import UserError

    file = folder / f".pas-doctor-{uuid4().hex[:8]}"
    try:
        file.write_text("a file to try writing; may be removed")
        file.unlink()
    except OSError as error:
        remedy = "make room" if error.errno == errno.ENOSPC else "change its owner or rights"
        raise UserError(
            f"{setting}: {folder} cannot be written ({error.strerror}); {remedy}"
        ) from error


def _lake() -> str:
    from storage.settings import settings

    lake = settings().open_lake(reading=True)
    if lake.is_local:
        _try_writing(_nearest(Path(lake.root)), f"PAS_LAKE {lake.name}")
    else:
        lake.remove(lake.write_text(lake.address("doctor", f"{uuid4().hex}.json"), "{}"))
    return f"{lake.name}, {len(lake.list())} files"


def _store_answers() -> str:
    from storage.registry.server import check_server
    from storage.settings import settings

    _check_clock(check_server(settings().open_registry(), _ANSWER))
    return "yes"


def _store() -> str:
    from storage.http import without_credentials
    from storage.settings import settings

    _store_answers()
    registry = settings().open_registry()
    if not settings().has_registry:
        return f"{without_credentials(registry.tracking_uri)}, made by the first training"
    from storage.registry.move import refuse_moved
    from storage.registry.versions import list_versions

    refuse_moved(registry)
    count = len(list_versions(registry))
    return f"{without_credentials(registry.tracking_uri)}, {count} vector versions"


def _artifacts() -> str:
    from storage.http import without_credentials
    from storage.lake.files import open_lake
    from storage.registry.server import try_artifacts
    from storage.settings import settings

    registry = settings().open_registry()
    root = registry.artifact_root
    if root is None:
        try_artifacts(registry, _ANSWER)
        return "kept by MLflow's server"
    if "://" not in root:
        _try_writing(_nearest(Path(root).expanduser().resolve()), f"PAS_ARTIFACT_ROOT {root}")
    else:
        store = open_lake(root)
        store.remove(store.write_text(store.address("doctor", f"{uuid4().hex}.json"), "{}"))
    return without_credentials(root)


def _check_clock(ahead: float) -> None:
    """Refuse a server's clock that differs from ours: ages and schedules would be wrong."""
    from pas.errors import UserError

    if abs(ahead) > _SKEW:
        raise UserError(
            f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this "
            "machine's; set both by NTP"
        )


def _prefect() -> str:
    from importlib.metadata import version

    from pas.errors import UserError

    server = _server()
    if server is None:
        return "each command starts its own server; pas up starts one that stays"
    theirs, ours = str(server.ask("/admin/version")), version("prefect")
    if theirs.split(".")[0] != ours.split(".")[0]:
        raise UserError(
            f"PREFECT_API_URL {server.shown}: its version is {theirs}, ours {ours}; "
            "install the same on both"
        )
    _check_clock(server.clock())
    return f"server {theirs} at {server.shown}"


def _workers() -> str:
    from pas.errors import UserError
    from tasks.status import read_pools

    pools = read_pools(_server())
    wrong = [f"pool {p.name}: no worker is online; start one with prefect worker start --pool "
             f"{p.name}" for p in pools if not p.workers and not p.paused]  # fmt: skip
    wrong += [f"pool {p.name}: {p.late} runs are late; start more workers or raise its limit"
              for p in pools if p.late and p.workers]  # fmt: skip
    if wrong:
        raise UserError("; ".join(wrong))
    return ", ".join(f"{p.name}: {p.workers}" for p in pools) or "no work pools"


def _schedules() -> str:
    from pas.errors import UserError
    from tasks.status import read_schedules

    planned = read_schedules(_server())
    active = [schedule for schedule in planned if schedule.active]
    without = [schedule.deployment for schedule in active if schedule.next_run is None]
    if without:
        raise UserError(
            f"{', '.join(without)}: no run is planned; the server's scheduler does not work. See "
            "its log; it needs SQLAlchemy below 2.1, and prefect server start without --no-services"
        )
    if not active:
        return f"none is on, of {len(planned)}"
    first = min(s.next_run for s in active if s.next_run)
    return f"{len(active)} on, the next run at {first.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _killed_runs() -> str:
    from storage.processes import ended
    from storage.settings import settings

    now = settings()
    closed: list[str] = []
    if now.has_registry:
        _store_answers()
        from storage.registry.runs import close_killed_runs

        closed += close_killed_runs(now.open_registry(), now.experiment, ended)
    with _server_with_runs() as server:
        if server is not None:
            closed += server.close_runs(ended)
    return f"closed: {', '.join(closed)}" if closed else "none is open"


@contextmanager
def _server_with_runs() -> "Iterator[PrefectServer | None]":
    """Yield the server to ask for open runs; an embedded one is started only if there are any."""
    from flows.embedded import has_open_runs, start_for_command
    from flows.runtime import prepare_environment
    from storage.settings import settings
    from tasks.prefect_api import prefect_server

    home, running = settings().root, _server()
    if running is not None or not has_open_runs(home):
        yield running
        return
    prepare_environment(home)
    started = start_for_command()
    try:
        started.wait_until_ready()
        yield prefect_server(home, f"{started.address}/api", _ANSWER)
    finally:
        started.stop()


def _demo_model() -> str:
    from pas.models.spec import DEMO_NAME
    from storage.settings import settings

    folder = settings().cache_dir / "models" / DEMO_NAME
    return "converted" if folder.is_dir() else "not yet downloaded; the first use fetches it"


def _server() -> "PrefectServer | None":
    from flows.embedded import running_server
    from storage.settings import settings

    return running_server(settings().root, _ANSWER)
