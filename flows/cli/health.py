"""`pas doctor`: checks of what a training needs."""

import base64
import ctypes
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import typer

from flows.cli.display import Json, print_json, print_table

UNWELL = 1


class Check(NamedTuple):
    """One check: what was looked at, whether it is well, what was found."""

    name: str
    ok: bool
    found: str


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", help=doctor.__doc__)(doctor)


def doctor(json: Json = False) -> None:
    """Check what a training needs: libraries, device, stores (exit code 1 for a problem)."""
    checks = list(_checks())
    if json:
        print_json([check._asdict() for check in checks])
    else:
        rows = [("ok" if c.ok else "PROBLEM", c.name, c.found) for c in checks]
        print_table("pas doctor", ("", "check", "found"), rows)
    if not all(check.ok for check in checks):
        sys.exit(UNWELL)


def _checks() -> Iterator[Check]:
    for name, look in (
        ("libraries", _libraries),
        ("device", _device),
        ("home", _home),
        ("lake", _lake),
        ("MLflow store", _store),
        ("Prefect", _prefect),
        ("demo model", _demo_model),
    ):
        yield _check(name, look)


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except Exception as error:  # every problem is reported, none ends the command
        first = (str(error).splitlines() or [""])[0]
        return Check(name, False, f"{type(error).__name__}: {first}")


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
    import shutil

    from storage.settings import settings

    root = settings().root
    free = shutil.disk_usage(root if root.exists() else root.parent).free
    if free < 2**30:
        raise OSError(f"less than 1 GiB free at {root}")
    return f"{root}, {free / 2**30:.0f} GiB free"


def _lake() -> str:
    from storage.settings import settings

    lake = settings().open_lake()
    return f"{lake.url.split('@')[-1]}, {len(lake.list())} files"


def _store() -> str:
    from storage.registry.versions import list_versions
    from storage.settings import settings

    registry = settings().open_registry()
    count = len(list_versions(registry))
    return f"{registry.tracking_uri.split('@')[-1]}, {count} vector versions"


def _prefect() -> str:
    from urllib.request import Request, urlopen

    from storage.settings import settings
    from tasks.prefect_api import prefect_setting

    url, auth, key = (
        prefect_setting(settings().root, name)
        for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")
    )
    if not url:
        return "an ephemeral server, started by each command"
    request = Request(f"{url.rstrip('/')}/health")  # noqa: S310
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    elif auth:
        coded = base64.b64encode(auth.encode()).decode()
        request.add_header("Authorization", f"Basic {coded}")
    with urlopen(request, timeout=10):  # noqa: S310
        return f"server at {url.split('@')[-1]}"


def _demo_model() -> str:
    from pas.models.spec import DEMO_NAME
    from storage.settings import settings

    folder = settings().cache_dir / "models" / DEMO_NAME
    return "converted" if folder.is_dir() else "not yet downloaded; the first use fetches it"
