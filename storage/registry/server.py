"""Whether MLflow's server answers, before its own client waits for minutes."""

import base64
import os
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from pas.errors import UserError
from storage.http import Answer, fetch, without_credentials
from storage.settings import Registry

PATIENCE = 5.0  # seconds for an answer


def check_server(registry: Registry, timeout: float = PATIENCE) -> float:
    """Return how many seconds the clock of MLflow's server is ahead; 0 where there is no server.

    Raises:
        UserError: If it does not answer, or refuses; names the setting and the remedy.
    """
    if not registry.tracking_uri.startswith(("http://", "https://")):
        return 0.0
    return _ask(registry, timeout, "/version").ahead


def try_artifacts(registry: Registry, timeout: float) -> None:
    """Write and remove a small file through MLflow's server, which keeps the artifacts.

    Raises:
        UserError: If it cannot.
    """
    path = f"/api/2.0/mlflow-artifacts/artifacts/pas-doctor/{uuid4().hex}"
    _ask(registry, timeout, path, b"{}", "PUT")
    _ask(registry, timeout, path, None, "DELETE")


def _ask(
    registry: Registry,
    timeout: float,
    path: str,
    body: bytes | None = None,
    method: str | None = None,
) -> Answer:
    address = without_credentials(registry.tracking_uri).rstrip("/")
    try:
        return fetch(f"{address}{path}", timeout, body, method, _authorization(registry))
    except HTTPError as error:
        remedy = {
            401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            403: "start the server with --allowed-hosts that name this address, or ask for rights",
            404: "correct the address: no MLflow server with artifacts is there",
        }.get(error.code, "see the server's log")
        raise UserError(
            f"MLFLOW_TRACKING_URI {address}: {path} was answered with {error.code} "
            f"({error.reason}); {remedy}"
        ) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"MLFLOW_TRACKING_URI {address}: no answer ({reason}). Start the server, correct the "
            "address, or unset it to keep runs in the home"
        ) from error


def _authorization(registry: Registry) -> dict[str, str]:
    """Return what MLflow's client sends too: a token, or a user and a password."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    parts = urlsplit(registry.tracking_uri)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or unquote(parts.username or "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or unquote(parts.password or "")
    if not user:
        return {}
    coded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {coded}"}
