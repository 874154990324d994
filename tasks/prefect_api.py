"""Prefect's server asked by plain HTTP: without importing Prefect, which takes a second."""

import base64
import json
import os
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener, urlopen

from pas.errors import UserError
from storage.processes import Process, ending, parse

PROCESS_TAG = "process "  # of runs; the process follows
_LOOPBACK = ("http://127.0.0.1", "http://localhost", "http://[::1]")


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
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Return the answer to a GET, or with a body to a POST.

        Raises:
            UserError: If there is no answer, or it is a refusal; names the setting to mend.
        """
        return self._answer(path, body, method)[0]

    def clock(self) -> float:
        """Return how many seconds the server's clock is ahead of ours, to a second."""
        headers = self._answer("/health", None, None)[1]
        told = parsedate_to_datetime(headers["Date"])
        return (told - datetime.now(UTC)).total_seconds()

    def _answer(self, path: str, body: Any, method: str | None) -> tuple[Any, Any]:
        request = Request(  # noqa: S310
            f"{self.url.rstrip('/')}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        if self.authorization:
            request.add_header("Authorization", self.authorization)
        # A proxy of the environment leads nowhere for a server on this machine.
        local = self.url.startswith(_LOOPBACK)
        send = build_opener(ProxyHandler({})).open if local else urlopen
        try:
            with send(request, timeout=self.timeout) as answer:
                text = answer.read()
                return json.loads(text) if text else None, answer.headers
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
        except (URLError, OSError, ValueError) as error:
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
