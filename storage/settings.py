"""Every setting, from the environment: the only place that reads it.

With pydantic alone: pydantic-settings takes 0.12 s to import, half of what `pas sql` takes.
"""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pas.errors import UserError
from pas.models.cache import default_cache_dir
from storage.http import without_credentials
from storage.lake.files import Lake, open_lake

DATABASE = "mlflow.db"  # of the embedded MLflow store, in the home
_MLFLOW = "MLFLOW_TRACKING_URI"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_STORES = (*_DATABASES, "http", "https", "databricks", "databricks-uc")
_SERVERS = ("http://", "https://", "databricks")


@dataclass(frozen=True)
class Registry:
    """Where runs and registered models are kept.

    Attributes:
        tracking_uri: `sqlite:///...`, another database URL, or the address of an MLflow server.
        artifact_root: Folder or URL for artifacts. None only with a server, which has its own.
    """

    tracking_uri: str
    artifact_root: str | None = None

    def __post_init__(self) -> None:
        """Refuse an address that is none, and a database without an artifact root.

        Raises:
            UserError: Without an artifact root MLflow would write to `./mlruns`, wherever it is
                started.
        """
        scheme = self.tracking_uri.partition(":")[0]
        if scheme.partition("+")[0] not in _STORES:
            raise UserError(
                f"MLFLOW_TRACKING_URI {without_credentials(self.tracking_uri)}: give the http(s) "
                f"address of an MLflow server, or a database's: {', '.join(_DATABASES)}"
            )
        try:
            urlsplit(self.tracking_uri).port  # noqa: B018
        except ValueError as error:
            raise UserError(
                f"MLFLOW_TRACKING_URI {without_credentials(self.tracking_uri)}: {error}; correct "
                "the address"
            ) from error
        if self.artifact_root is None and not self.tracking_uri.startswith(_SERVERS):
            raise UserError(
                f"the MLflow store is a {scheme} database and has no artifact root: give a folder "
                "or an object-storage URL for it, or the http(s) address of an MLflow server"
            )


class Settings(BaseModel):
    """Where data is stored and how much is processed at once.

    Each field is read from the variable `PAS_<FIELD>`; the MLflow store also from MLflow's own
    `MLFLOW_TRACKING_URI`. Secrets are not settings: clients of object stores and databases find
    them in their usual places. The keys of `pas serve` and `pas judge` are an
    exception, and never shown.
    """

    model_config = ConfigDict(frozen=True)

    home: Path = Field(Path(".pas"), description="folder of the embedded stores")
    lake: str | None = Field(None, description="folder or fsspec URL; default <home>/lake")
    cache_dir: Path = Field(
        default_factory=default_cache_dir,
        description="converted demo model and file hashes, shared by all homes",
    )
    tracking_uri: str | None = Field(
        None, description="MLflow store; default a SQLite file in <home>"
    )
    artifact_root: str | None = Field(
        None, description="artifacts of a database store; default <home>/artifacts"
    )
    experiment: str = Field("pas", min_length=1, description="MLflow experiment of the trainings")
    user: str | None = Field(
        None, description="who MLflow shows as the creator of a run; default the login name"
    )
    shard_tokens: int = Field(8192, gt=0, description="tokens run for one activation shard")
    batch_tokens: int | None = Field(
        None, gt=0, description="tokens of one forward pass; default what the free memory holds"
    )
    batch_rows: int | None = Field(
        None, gt=0, description="steered rows of one sweep step; default as above"
    )
    task_runner: str = Field(
        "threads",
        pattern=r"^(threads|(dask|ray)(=.+)?)$",
        description="what runs the tasks of an extraction: threads, or dask or ray, with the "
        "address of a cluster such as dask=tcp://scheduler:8786",
    )
    memory_limit: str | None = Field(None, description="DuckDB's memory limit; default 1GB")
    api_keys: str | None = Field(
        None, repr=False, description="keys of pas serve, separated by commas"
    )
    judge_key: str | None = Field(
        None, repr=False, description="API key of a model that pas judge asks"
    )
    trust_remote_code: bool = Field(
        False, description="run code that comes with the models of registered vectors"
    )

    @property
    def root(self) -> Path:
        """The home as an absolute path.

        Raises:
            UserError: If there can be no such folder.
        """
        try:
            root = self.home.expanduser().resolve()
            root.exists()
        except (OSError, RuntimeError) as error:  # a name that is too long, or of no user
            raise UserError(
                f"PAS_HOME {str(self.home)[:80]}: this cannot be a folder ({error}); choose another"
            ) from error
        return root

    @property
    def creator(self) -> str | None:
        """Who runs are shown to be created by; None where nothing says."""
        try:
            return self.user or getpass.getuser()
        except (KeyError, OSError):  # a container's user may have no name
            return None

    @property
    def has_registry(self) -> bool:
        """Whether there is an MLflow store; the embedded one is made by the first training."""
        return self.tracking_uri is not None or (self.root / DATABASE).exists()

    def open_lake(self, *, reading: bool = False) -> Lake:
        """Return the lake, to read only if so said; nothing is created before something is written.

        Raises:
            UserError: As `storage.lake.files.open_lake`.
        """
        return open_lake(self.lake or str(self.root / "lake"), reading=reading)

    def open_registry(self) -> Registry:
        """Return the MLflow store; a server keeps artifacts itself."""
        uri = self.tracking_uri or f"sqlite:///{self.root / DATABASE}"
        served = uri.startswith(_SERVERS)
        root = self.artifact_root or (None if served else str(self.root / "artifacts"))
        return Registry(uri, root)


@cache
def settings() -> Settings:
    """Return the settings of this process, read once.

    Raises:
        UserError: If a variable has a value that does not fit. The message does not repeat it.
    """
    variables = {name: _variable(name, os.environ) for name in Settings.model_fields}
    given = {name: os.environ[v] for name, v in variables.items() if v in os.environ}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        [first, *_] = error.errors()
        variable = variables[str(first["loc"][0])]
        raise UserError(f"{variable}: {first['msg']}; set another value or none") from None


def _variable(name: str, environment: Mapping[str, str]) -> str:
    """Return the variable that a setting is read from."""
    if name == "tracking_uri" and _MLFLOW in environment:
        return _MLFLOW
    return f"PAS_{name.upper()}"
