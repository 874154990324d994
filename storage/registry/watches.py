"""The trend of a vector on fresh rows: one MLflow run for each vector and source, a step a time."""

import hashlib
import time
from collections.abc import Mapping

from storage.http import without_credentials
from storage.registry.client import client, ensure_experiment
from storage.registry.runs import open_run
from storage.settings import Registry

_KEY = "watch.key"  # tag: a hash of vector and source, as a filter takes no text with quotes


def log_watch(
    registry: Registry,
    experiment: str,
    name: str,
    source: str,
    metrics: Mapping[str, float],
    tags: Mapping[str, str] | None = None,
) -> tuple[str, int]:
    """Add a step to the run that follows a vector on a source; it is made on first use.

    Args:
        registry: The store.
        experiment: Created when absent.
        name: The registered model.
        source: Where the rows come from; credentials are not kept.
        metrics: Of this time; the same names every time.
        tags: Of the run, if it is made now; see `storage.registry.runs.run_tags`.

    Returns:
        The run's id, and the step, counted from 0.
    """
    from mlflow.entities import Metric

    store, source = client(registry), without_credentials(source)
    key = hashlib.blake2b(f"{name}\n{source}".encode(), digest_size=16).hexdigest()
    query = f"tags.`{_KEY}` = '{key}'"
    runs = store.search_runs([ensure_experiment(registry, experiment)], query, max_results=1)
    step = 0
    if runs:
        run_id = str(runs[0].info.run_id)
        step = max(len(store.get_metric_history(run_id, metric)) for metric in metrics)
    else:
        marked = {_KEY: key, "vector": name, "source": source, **(tags or {})}
        with open_run(
            registry, experiment=experiment, run_name=f"watch {name}", tags=marked
        ) as run_id:
            pass
    now = int(time.time() * 1000)
    store.log_batch(run_id, [Metric(k, float(v), now, step) for k, v in metrics.items()])
    return run_id, step
