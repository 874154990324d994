"""One training as one MLflow run: parameters, evidence, lineage, and the vector as a model.

MLflow gives a run its id, so a flow opens the run first and uses that id in the lake's tables;
an exception before the run is closed marks it as failed:

    with open_run(registry, experiment="pas", run_name="bbq") as run_id:
        ...
        log_training(registry, run_id, record)

`log_training` registers last, so a run that fails in it registers nothing.
"""

import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pas.steering.vector import SteeringVector
from storage.http import without_credentials
from storage.lake.schema import require_schema
from storage.processes import Process, ended, parse, this_process
from storage.registry.client import client, download, ensure_experiment, write
from storage.registry.database import database_file, has_open_runs
from storage.registry.lock import exclusive
from storage.registry.pyfunc import save_pyfunc
from storage.registry.versions import (
    CONTENT_TAG,
    DIGEST_TAG,
    describe,
    find_copy,
    make_candidate,
    register,
    tag_version,
)
from storage.settings import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

PROCESS_TAG = "pas.process"
REPORT_FOLDER = "report"  # among a run's artifacts
LINEAGE_FILE = "lineage.json"
_LINEAGE = 1  # its schema's number
_BATCH = 100  # parameters in one request, MLflow's limit
_PREVIEW_ROWS = 500  # of a table in MLflow's own viewer; the Parquet file has every row


class TrainingData(NamedTuple):
    """The data set of a run: its name, where it is from, a digest of its rows, and the rows.

    The digest has at most 36 characters, MLflow's limit.
    """

    name: str
    source: str
    digest: str
    table: pa.Table


class Notes(NamedTuple):
    """Descriptions in Markdown, for MLflow's pages.

    Attributes:
        run: Of the run.
        version: Of the version, given its number.
        model: Of the registered model; one that somebody has written stays.
    """

    run: str
    version: Callable[[int], str]
    model: str


@dataclass(frozen=True)
class TrainingRecord:
    """What a run keeps of a training.

    Attributes:
        vector: Logged as a pyfunc that refers to its base model and does not contain it.
        data: The training data; the rows are summarised, not copied.
        example_prompt: Input example of the pyfunc.
        model_name: Registered model, see `storage.registry.versions.model_name`.
        version_tags: Tags of the version; None to register none.
        params: Settings; dicts and lists are kept as JSON, None is left out.
        metrics: Results.
        tables: Kept as `tables/<name>.parquet`, the first 500 rows also for MLflow's viewer.
        figures: Kept as `plots/<name>.png`.
        pages: Files for people, kept under their own names in `REPORT_FOLDER`.
        lineage: JSON-able, kept as `lineage.json`: data fingerprint, shard keys, versions.
        notes: Descriptions.
    """

    vector: SteeringVector
    data: TrainingData
    example_prompt: str
    model_name: str
    version_tags: Mapping[str, object] | None
    params: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    figures: Mapping[str, "Figure"] = field(default_factory=dict)
    pages: Sequence[Path] = ()
    lineage: Mapping[str, Any] = field(default_factory=dict)
    notes: Notes | None = None


class Registration(NamedTuple):
    """The run that trained a vector and the version that holds it, if one does.

    Attributes:
        run_id: The run.
        model_name: Registered model.
        version: The version that holds the vector; None where none was to be registered.
        is_new: Whether this run made that version. An earlier run with the same content may have.
    """

    run_id: str
    model_name: str
    version: int | None
    is_new: bool


def run_tags(source: str, user: str | None) -> dict[str, str]:
    """Return the tags that MLflow's columns "Source" and "Created by" show.

    Args:
        source: The command or flow, such as `pas train`; no path.
        user: Who it was started by; None for nobody known.
    """
    return {"mlflow.source.name": source} | ({"mlflow.user": user} if user else {})


@contextmanager
def open_run(
    registry: Registry,
    *,
    experiment: str,
    run_name: str,
    tags: Mapping[str, str] | None = None,
    seconds: float = 0.0,
) -> Iterator[str]:
    """Open a run, yield its id, and close it as finished, failed or (if interrupted) killed.

    Args:
        registry: The store.
        experiment: Created when absent.
        run_name: What MLflow shows; need not be unique.
        tags: Of the run. Added is only the process, by which a killed run is known; its machine
            is a digest. No host or path is added, and no user but the one that `run_tags` gives.
        seconds: How long ago the work began that the run stands for.
    """
    store = client(registry)
    run = store.create_run(
        ensure_experiment(registry, experiment),
        start_time=int((time.time() - seconds) * 1000),
        tags={**(tags or {}), PROCESS_TAG: str(this_process())},
        run_name=run_name,
    )
    run_id = str(run.info.run_id)
    try:
        yield run_id
    except BaseException as error:
        # The error that ended the run is the one to see, even where the store is gone too.
        with suppress(Exception):
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            store.set_terminated(run_id, status)
        raise
    store.set_terminated(run_id, "FINISHED")


def close_killed_runs(
    registry: Registry, experiment: str, gone: Callable[[Process], bool] = ended
) -> list[str]:
    """Close the runs whose process is gone, which nobody else will; return their names.

    Args:
        registry: The store.
        experiment: Name of the experiment; need not exist.
        gone: Whether a process is.
    """
    file = database_file(registry)
    if file is not None and file.exists() and not has_open_runs(file):
        return []  # without MLflow, which takes 2 s to import
    store = client(registry)
    found = store.get_experiment_by_name(experiment)
    if found is None:
        return []
    closed = []
    for run in store.search_runs([found.experiment_id], "attributes.status = 'RUNNING'"):
        owner = parse(run.data.tags.get(PROCESS_TAG, ""))
        if owner is not None and gone(owner):
            store.set_terminated(run.info.run_id, "KILLED")
            closed.append(str(run.info.run_name))
    return closed


def log_training(registry: Registry, run_id: str, record: TrainingRecord) -> Registration:
    """Log everything about a training into an open run, then register the vector as candidate.

    May be repeated for the same run after a failure: there is one version per run and name. Where
    a version holds this very vector already, that version becomes the candidate (unless it is the
    champion), and neither a second one nor a copy of its artifacts is made.

    Args:
        registry: The store.
        run_id: From `open_run`.
        record: What to log.
    """
    store = client(registry)
    if record.notes is not None:
        store.set_tag(run_id, "mlflow.note.content", record.notes.run)
    _log_params(store, run_id, record.params)
    _log_data(store, run_id, record.data)
    store.log_dict(run_id, {"schema": _LINEAGE} | dict(record.lineage), LINEAGE_FILE)
    for name, table in record.tables.items():
        _log_table(store, run_id, name, table)
    for name, figure in record.figures.items():
        store.log_figure(run_id, figure, f"plots/{name}.png")
    for page in record.pages:
        store.log_artifact(run_id, str(page), REPORT_FOLDER)
    if record.version_tags is None:
        _log_model(store, run_id, record)
        return Registration(run_id, record.model_name, None, False)
    return _register(registry, run_id, record, record.version_tags)


def _register(
    registry: Registry, run_id: str, record: TrainingRecord, tags: Mapping[str, Any]
) -> Registration:
    store, name, vector = client(registry), record.model_name, record.vector
    known = find_copy(registry, name, vector, run_id)
    logged = None if known else _log_model(store, run_id, record)
    # Of two runs that made the same vector at once, the second must find the version of the first.
    with exclusive(registry, name):
        copy = find_copy(registry, name, vector, run_id)
        if copy is None:
            tags = {**tags, DIGEST_TAG: vector.digest, CONTENT_TAG: vector.content}
            logged = logged or _log_model(store, run_id, record)
            made = register(registry, name=name, logged_model=logged, run_id=run_id, tags=tags)
    if copy is None:
        if record.notes is not None:
            describe(registry, made, record.notes.version(made.version), record.notes.model)
        return Registration(run_id, name, made.version, True)
    if logged is None:
        _log_metrics(store, run_id, record.metrics)
    else:
        store.delete_logged_model(logged)
    # The same vector may come of other data or code; what it was made from is the latest.
    tag_version(registry, copy, tags)
    make_candidate(registry, copy)
    return Registration(run_id, name, copy.version, False)


def read_lineage(registry: Registry, run_id: str) -> dict[str, Any]:
    """Return what a training was made from, as it was logged.

    Raises:
        UserError: If the artifact store does not have it.
    """
    root = client(registry).get_run(run_id).info.artifact_uri
    with tempfile.TemporaryDirectory() as folder:
        text = download(registry, f"{root}/{LINEAGE_FILE}", Path(folder)).read_text()
    lineage: dict[str, Any] = json.loads(text)
    require_schema(lineage.get("schema"), _LINEAGE, f"{LINEAGE_FILE} of run {run_id}")
    return lineage


def rewrite_page(
    registry: Registry, run_id: str, name: str, change: Callable[[str], str | None]
) -> str | None:
    """Replace a page of a run.

    Args:
        registry: The store.
        run_id: The run.
        name: The page's own name, see `TrainingRecord.pages`.
        change: Returns the new text for the old one, or None to leave it.

    Returns:
        The new text; None if the run has no such page or it was left.
    """
    store, place = client(registry), f"{REPORT_FOLDER}/{name}"
    if place not in {file.path for file in store.list_artifacts(run_id, REPORT_FOLDER)}:
        return None
    root = store.get_run(run_id).info.artifact_uri
    with tempfile.TemporaryDirectory() as folder:
        file = download(registry, f"{root}/{place}", Path(folder))
        text = change(file.read_text("utf-8"))
        if text is not None:
            file.write_text(text, "utf-8")
            store.log_artifact(run_id, str(file), REPORT_FOLDER)
    return text


def log_study(
    registry: Registry,
    experiment: str,
    name: str,
    files: Sequence[Path],
    tags: Mapping[str, str] | None = None,
) -> str:
    """Log a study's report and results as a run of their own; return its id."""
    tags = {"study": name, **(tags or {})}
    with open_run(registry, experiment=experiment, run_name=f"study-{name}", tags=tags) as run_id:
        for file in files:
            client(registry).log_artifact(run_id, str(file))
    return run_id


def _log_params(store: "MlflowClient", run_id: str, params: Mapping[str, object]) -> None:
    from mlflow.entities import Param

    entities = [
        Param(key, json.dumps(value) if isinstance(value, dict | list | tuple) else str(value))
        for key, value in params.items()
        if value is not None
    ]
    for start in range(0, len(entities), _BATCH):
        store.log_batch(run_id, params=entities[start : start + _BATCH])


def _log_table(store: "MlflowClient", run_id: str, name: str, table: pa.Table) -> None:
    shown = f"tables/{name}.json"
    if shown not in {file.path for file in store.list_artifacts(run_id, "tables")}:
        store.log_table(run_id, table.slice(0, _PREVIEW_ROWS).to_pandas(), shown)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.parquet"
        pq.write_table(table, file)
        store.log_artifact(run_id, str(file), "tables")


def _log_data(store: "MlflowClient", run_id: str, data: TrainingData) -> None:
    from mlflow.data import from_pandas
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.entities import Dataset, DatasetInput, InputTag

    # MLflow's own guess takes a hub id for a local path.
    source = CodeDatasetSource(tags={"source": without_credentials(data.source)})
    # Advice for models that take such columns as input; catch_warnings is not for threads.
    warnings.filterwarnings("ignore", "Hint: Inferred schema contains integer")
    dataset = from_pandas(data.table.to_pandas(), source=source, name=data.name, digest=data.digest)
    described = Dataset.from_dictionary(dataset.to_dict())
    inputs = [DatasetInput(described, [InputTag("mlflow.data.context", "training")])]
    write(lambda: store.log_inputs(run_id, inputs))


def _log_metrics(
    store: "MlflowClient", run_id: str, metrics: Mapping[str, float], model_id: str | None = None
) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entities = [Metric(k, float(v), now, 0, model_id=model_id) for k, v in metrics.items()]
    store.log_batch(run_id, metrics=entities)


def _log_model(store: "MlflowClient", run_id: str, record: TrainingRecord) -> str:
    """Return the id of the logged model.

    This uses the client: `mlflow.pyfunc.log_model` works on the process's active run and store,
    and would load the base model and generate from the example to validate it.
    """
    from mlflow.entities import LoggedModelOutput

    # Of the registered name's characters the logged model's may not have the dot (qwen2.5).
    logged = store.create_logged_model(
        store.get_run(run_id).info.experiment_id,
        name=record.model_name.replace(".", "-"),
        source_run_id=run_id,
    )
    model_id = str(logged.model_id)
    try:
        _log_metrics(store, run_id, record.metrics, model_id)
        store.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            save_pyfunc(path, logged, run_id, record.vector, record.example_prompt)
            store.log_model_artifacts(model_id, str(path))
    except BaseException:
        with suppress(Exception):
            store.finalize_logged_model(model_id, "FAILED")
        raise
    store.finalize_logged_model(model_id, "READY")
    return model_id
