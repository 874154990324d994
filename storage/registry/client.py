"""The MLflow store: where it is, a client for it, an experiment in it.

Every function names its store by a `Registry`; MLflow's global tracking URI is neither read nor
set, so threads and flows with different stores do not disturb each other.
"""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock

from pas.errors import UserError
from storage.http import redacted, without_credentials
from storage.registry.database import check_database, database_file
from storage.settings import Registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow takes 2 s to import, so that functions import it. Importing it starts its telemetry, which
# also writes an id into the user's home. Its links to runs repeat the address of the server, with a
# password where it has one.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

Found = TypeVar("Found")
MOVED = "If the home was moved or copied, run: pas registry move"


def client(registry: Registry) -> "MlflowClient":
    """Return a client of the store; an embedded database is made on first use (1-2 s).

    Raises:
        UserError: If the store does not answer, or an embedded database cannot be made, or is
            damaged or locked.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # It logs with a traceback what it raises too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    file = database_file(registry)
    if file is None:
        try:
            return MlflowClient(registry.tracking_uri, registry.tracking_uri)
        except (MlflowException, SQLAlchemyError, ImportError) as error:
            reason = redacted((str(error).splitlines() or [type(error).__name__])[0])
            raise UserError(
                f"MLFLOW_TRACKING_URI {without_credentials(registry.tracking_uri)}: MLflow's store "
                f"cannot be opened ({reason}). Start it, correct the address, or install its driver"
            ) from error
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            # MLflow creates its tables without a lock: two runs on a fresh home would collide.
            with FileLock(file.with_name(file.name + ".lock")):
                if not file.exists():
                    create_database(file)
        except OSError as error:
            raise UserError(
                f"MLflow's database {file} cannot be made ({error.strerror}): set PAS_HOME to a "
                "folder that you may write to"
            ) from error
    check_database(file)
    try:
        return MlflowClient(registry.tracking_uri, registry.tracking_uri)
    except MlflowException as error:  # such as for the schema of another release of MLflow
        raise UserError(f"MLflow's database {file}: {error}") from error


def create_database(file: Path) -> None:
    """Make an embedded MLflow database, first under another name: no half-made one is ever seen.

    Some sixty migrations wait for the disk after each step, 5 s of 7 on a busy disk. A file that
    is not in use yet does not need to wait.
    """
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import URL, create_engine, event

    unfinished = file.with_name(file.name + ".new")
    unfinished.unlink(missing_ok=True)
    engine = create_engine(URL.create("sqlite", database=str(unfinished)))
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    _initialize_tables(engine)
    engine.dispose()
    unfinished.rename(file)


def ensure_experiment(registry: Registry, name: str) -> str:
    """Return the id of the experiment, creating it with its artifacts under the artifact root.

    Raises:
        UserError: If the experiment was deleted, or its artifacts were moved with the home.
    """
    store, location = client(registry), _artifact_location(registry, name)
    if store.get_experiment_by_name(name) is None:
        create_once(lambda: store.create_experiment(name, location))
    found = store.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"experiment {name!r} was deleted: restore it with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or use another name"
        )
    place = str(found.artifact_location)
    ours = is_embedded(registry) and place.endswith(f"/{artifact_folder(name)}")
    if ours and place.startswith("file:") and place != location:
        # MLflow would make the old folder again, and split the artifacts between the two.
        raise UserError(f"experiment {name!r} keeps its artifacts in {place}. {MOVED}")
    return str(found.experiment_id)


def create_once(create: Callable[[], object]) -> None:
    """Create something in the store; it is no error if another run was faster."""
    from mlflow.exceptions import MlflowException

    try:
        create()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def find(look: Callable[[], Found]) -> Found | None:
    """Return what the store has, or None if it has no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return look()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    return None


def write(action: Callable[[], object]) -> None:
    """Run an idempotent write, and once more if the first attempt fails.

    MLflow looks for a row and then inserts it, so of two runs that write the same alias or data
    set for the first time one is refused; its second attempt finds the row.
    """
    from mlflow.exceptions import MlflowException

    try:
        action()
    except MlflowException:
        action()


def download(registry: Registry, uri: str, folder: Path) -> Path:
    """Copy an artifact into the folder and return its path.

    MLflow looks `models:/` up in the process's global store, so it takes no such URI.

    Raises:
        UserError: If the artifact store does not have it.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        found = download_artifacts(
            artifact_uri=uri, dst_path=str(folder), tracking_uri=registry.tracking_uri
        )
    except (MlflowException, OSError) as error:
        moved = f" {MOVED}" if is_embedded(registry) and uri.startswith("file:") else ""
        reason = str(error).strip().splitlines()[-1]  # MLflow's list of failures has a heading
        raise UserError(
            f"{uri} cannot be fetched from the artifact store ({reason}); restore the store, or "
            f"train the vector again.{moved}"
        ) from error
    return Path(found)


def is_embedded(registry: Registry) -> bool:
    """Return whether the store is a SQLite file whose artifacts are in a folder."""
    return registry.tracking_uri.startswith("sqlite:") and "://" not in str(registry.artifact_root)


def artifact_folder(experiment: str) -> str:
    """Return the name of the folder with an experiment's artifacts."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", experiment).strip("-.") or "experiment"


def _artifact_location(registry: Registry, experiment: str) -> str | None:
    if registry.artifact_root is None:
        return None
    folder = artifact_folder(experiment)
    if "://" in registry.artifact_root:
        return f"{registry.artifact_root.rstrip('/')}/{folder}"
    return (Path(registry.artifact_root).expanduser().resolve() / folder).as_uri()
