"""Where MLflow's web interface shows a run and a version: addresses for people."""

from urllib.parse import quote

from storage.http import without_credentials
from storage.registry.client import client
from storage.settings import Registry


def server_address(registry: Registry) -> str | None:
    """Return the address of the MLflow server, without credentials; None where there is none."""
    if not registry.tracking_uri.startswith(("http://", "https://")):
        return None
    return without_credentials(registry.tracking_uri).rstrip("/")


def run_page(registry: Registry, run_id: str, artifact: str = "") -> str | None:
    """Return the address of a run's artifacts, or None where no MLflow server shows them.

    Args:
        registry: The store.
        run_id: The run, which must exist: the interface finds its artifacts through the
            experiment.
        artifact: A file among them to show, such as `report/page.html`.
    """
    address = server_address(registry)
    if address is None:
        return None
    experiment = client(registry).get_run(run_id).info.experiment_id
    folder = f"{address}/#/experiments/{experiment}/runs/{run_id}/artifacts"
    return f"{folder}/{quote(artifact)}" if artifact else folder


def version_page(registry: Registry, name: str, version: int) -> str | None:
    """Return the address of a version of a vector, or None where no MLflow server shows it."""
    address = server_address(registry)
    if address is None:
        return None
    return f"{address}/#/models/{quote(name, safe='')}/versions/{version}"
