"""Prefect's server asked by plain HTTP: without importing Prefect, which takes a second."""

import base64
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

from pas.errors import UserError
from storage.http import Answer, fetch, without_credentials
from storage.processes import Process, ending, parse

PROCESS_TAG = "process "  # of runs; the process follows


class PrefectServer(NamedTuple):
    """A server's address and what it asks for.

    Attributes:
        url: Of the API, such as `http://prefect:4200/api`.
        authorization: Value of the header of this name; None where nothing is set.
        timeout: Seconds to wait for an answer.
    """

    url: str
    authorization: str | None = None
    timeout: float = 10.0

    @property
    def shown(self) -> str:
        """The address without a user and password."""
        return without_credentials(self.url)

    def ask(self, path: str, body: Any = None) -> Any:
        """Return the answer to a GET, or with a body to a POST.

        Raises:
            UserError: If there is no answer, or it is a refusal; names the setting to mend.
        """
        text = self._answer(path, body).body
        return json.loads(text) if text else None

    def clock(self) -> float:
        """Return how many seconds the server's clock is ahead of ours."""
        return self._answer("/health", None).ahead

    def _answer(self, path: str, body: Any) -> Answer:
        headers = {"Content-Type": "application/json"}
        if self.authorization:
            headers["Authorization"] = self.authorization
        sent = None if body is None else json.dumps(body).encode()
        try:
            return fetch(f"{self.url.rstrip('/')}{path}", self.timeout, sent, headers=headers)
        except HTTPError as error:
            if error.code in (401, 403):
                raise UserError(
                    f"PREFECT_API_URL {self.shown}: the server refuses our password or key; set "
                    "PREFECT_API_AUTH_STRING (user:password) or PREFECT_API_KEY to its own"
                ) from error
            raise UserError(
                f"PREFECT_API_URL {self.shown}: {path} was answered with {error.code} "
                f"({error.reason}); the address must end in /api and be a Prefect 3 server's"
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(
                f"PREFECT_API_URL {self.shown}: no answer ({reason}). Start the server, correct "
                "the address, or unset it to work with an embedded one"
            ) from error

    def close_runs(self, gone: Callable[[Process], bool]) -> list[str]:
        """Close the unfinished runs of processes that are gone; return the flow runs' names.

        Runs of deployments are their workers' affair and left alone.

        Args:
            gone: Whether a process is; see `storage.processes.ended`.
        """
        closed = []
        for kind in ("task_runs", "flow_runs"):
            criteria: dict[str, Any] = {"flow_runs": {"deployment_id": {"is_null_": True}}}
            criteria.setdefault(kind, {})["state"] = {"type": {"any_": ["RUNNING", "PENDING"]}}
            for run in self.ask(f"/{kind}/filter", criteria):
                owner = next((found for tag in run["tags"] if (found := _owner(tag))), None)
                if owner is None or not gone(owner):
                    continue
                state = {"type": "CRASHED", "name": "Killed", "message": ending(owner)}
                self.ask(f"/{kind}/{run['id']}/set_state", {"state": state, "force": True})
                if kind == "flow_runs":
                    closed.append(str(run["name"]))
        return closed


def _owner(tag: str) -> Process | None:
    return parse(tag.removeprefix(PROCESS_TAG)) if tag.startswith(PROCESS_TAG) else None


def prefect_server(home: Path, url: str | None = None, timeout: float = 10.0) -> PrefectServer:
    """Return the server at an address, with the password or key that is set for Prefect."""
    key = prefect_setting(home, "PREFECT_API_KEY")
    password = prefect_setting(home, "PREFECT_API_AUTH_STRING")
    authorization = None
    if key:
        authorization = f"Bearer {key}"
    elif password:
        authorization = f"Basic {base64.b64encode(password.encode()).decode()}"
    address = url or prefect_setting(home, "PREFECT_API_URL") or ""
    return PrefectServer(address, authorization, timeout)


def prefect_home(home: Path) -> Path:
    """Return the folder of Prefect's own files.

    Args:
        home: `PAS_HOME`.
    """
    return Path(os.environ.get("PREFECT_HOME", home / "prefect")).expanduser()


def prefect_setting(home: Path, name: str) -> str | None:
    """Return a setting of Prefect from the environment or the active profile, or None.

    Prefect itself is not imported: that takes longer than all that `pas doctor` has to do.

    Args:
        home: `PAS_HOME`.
        name: Such as `PREFECT_API_URL`.
    """
    if os.environ.get(name):
        return os.environ[name]
    file = Path(os.environ.get("PREFECT_PROFILES_PATH", prefect_home(home) / "profiles.toml"))
    if not file.is_file():
        return None
    profiles = tomllib.loads(file.read_text(encoding="utf-8"))
    active = os.environ.get("PREFECT_PROFILE", profiles.get("active", ""))
    value = profiles.get("profiles", {}).get(active, {}).get(name)
    return None if value is None else str(value)
