"""`pas doctor`: is everything here that a training needs?"""

import sys
from collections.abc import Callable, Iterator
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
    """Check that what a training needs is here and answers (exit code 1 if not)."""
    from flows.cli.session import begin

    begin()
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
    except Exception as error:  # whatever is wrong is what a doctor reports
        first = (str(error).splitlines() or [""])[0]
        return Check(name, False, f"{type(error).__name__}: {first}")


def _libraries() -> str:
    from importlib.metadata import version

    names = ("torch", "transformers", "prefect", "mlflow", "duckdb", "pyarrow", "datasets")
    return ", ".join(f"{name} {version(name)}" for name in names)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        return f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    return f"CPU, {torch.get_num_threads()} threads (training large models needs a GPU)"


def _home() -> str:
    import shutil

    from storage.settings import settings

    root = settings().root
    free = shutil.disk_usage(root if root.exists() else root.parent).free
    if free < 2**30:
        raise OSError(f"less than 1 GiB free at {root}")
    return f"{root}, {free / 2**30:.0f} GiB free"


def _lake() -> str:
    from tasks import resources

    lake = resources.lake()
    return f"{lake.url.split('@')[-1]}, {len(lake.list())} files"


def _store() -> str:
    from storage.registry.versions import list_versions
    from tasks import resources

    registry = resources.registry()
    count = len(list_versions(registry))
    return f"{registry.tracking_uri.split('@')[-1]}, {count} vector versions"


def _prefect() -> str:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        return "an ephemeral server, started by each command"
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
    if problem is not None:
        raise problem
    return f"server at {url.split('@')[-1]}"


def _demo_model() -> str:
    from pas.models.spec import DEMO_NAME
    from storage.settings import settings

    folder = settings().cache_dir / "models" / DEMO_NAME
    return "converted" if folder.is_dir() else "not yet downloaded; the first use fetches it"
