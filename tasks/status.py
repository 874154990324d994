"""What an operator wants to know at a glance: vectors, decisions, schedules, workers, queue, lake.

Each store is asked in a thread of its own; one that does not answer costs its own part only.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

from pas.errors import UserError
from storage.lake.files import ACTIVATIONS_FOLDER
from storage.registry.server import check_server
from storage.settings import Settings
from tasks.prefect_api import PrefectServer

if TYPE_CHECKING:
    from storage.registry.versions import VectorVersion

T = TypeVar("T")
LATE_AFTER = timedelta(seconds=60)  # a worker asks for runs every 15 s


class VersionStatus(NamedTuple):
    """A version of a vector: its verdict, when it was made, and its test accuracies."""

    version: int
    verdict: str | None
    made: datetime
    baseline_accuracy: float | None
    steered_accuracy: float | None


class VectorStatus(NamedTuple):
    """A registered vector.

    Attributes:
        name: Registered model.
        versions: How many there are.
        champion: The version that is served, if any.
        champion_since: When it became champion, where that was recorded.
        candidate: The newest version that waits for a decision or was refused, if any.
        unjudged: Versions that no decision was made about.
        last_decision: In words, with its date.
    """

    name: str
    versions: int
    champion: VersionStatus | None
    champion_since: datetime | None
    candidate: VersionStatus | None
    unjudged: tuple[int, ...]
    last_decision: str | None


class PoolStatus(NamedTuple):
    """A work pool: workers that are online, and runs that wait or run there."""

    name: str
    workers: int
    paused: bool
    limit: int | None
    late: int
    pending: int
    running: int


class ScheduleStatus(NamedTuple):
    """A schedule of a deployment, and its next run."""

    deployment: str
    schedule: str
    active: bool
    next_run: datetime | None


class Status(NamedTuple):
    """Everything at one moment.

    Attributes:
        time: When it was asked for, UTC.
        home: `PAS_HOME`.
        vectors: By name.
        lake: Address of the lake.
        lake_files: How many files of activations it holds.
        lake_bytes: Their size.
        server: Address of Prefect's API; None where each command starts its own.
        pools: Of that server.
        schedules: Of that server.
        problems: What could not be asked, and how to mend it.
    """

    time: datetime
    home: str
    vectors: tuple[VectorStatus, ...]
    lake: str
    lake_files: int
    lake_bytes: int
    server: str | None
    pools: tuple[PoolStatus, ...]
    schedules: tuple[ScheduleStatus, ...]
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and those of their parts, JSON-able but for the times."""
        parts = {
            name: [part._asdict() for part in getattr(self, name)]
            for name in ("pools", "schedules")
        }
        vectors = [
            vector._asdict()
            | {
                alias: version and version._asdict()
                for alias, version in (
                    ("champion", vector.champion),
                    ("candidate", vector.candidate),
                )
            }
            for vector in self.vectors
        ]
        return self._asdict() | parts | {"vectors": vectors}


def gather(settings: Settings, server: PrefectServer | None) -> Status:
    """Ask the registry, the lake and Prefect's server.

    Args:
        settings: Names the stores.
        server: Prefect's server; None if there is none to ask.
    """
    problems: list[str] = []
    lake = settings.open_lake(reading=True)

    def ask(what: str, part: Callable[[], T], otherwise: T) -> T:
        try:
            return part()
        except Exception as error:  # told with the other parts
            first = (str(error).splitlines() or [type(error).__name__])[0]
            problems.append(first if isinstance(error, UserError) else f"{what}: {first}")
            return otherwise

    with ThreadPoolExecutor() as threads:
        vectors = threads.submit(ask, "MLflow store", lambda: read_vectors(settings), ())
        files = threads.submit(ask, "lake", lambda: lake.files(ACTIVATIONS_FOLDER), {})
        pools = threads.submit(ask, "Prefect", lambda: read_pools(server), ())
        schedules = threads.submit(ask, "Prefect", lambda: read_schedules(server), ())
    return Status(
        time=datetime.now(UTC).replace(microsecond=0),
        home=str(settings.root),
        vectors=vectors.result(),
        lake=lake.name,
        lake_files=len(files.result()),
        lake_bytes=sum(version.size for version in files.result().values()),
        server=server.shown if server else None,
        pools=pools.result(),
        schedules=schedules.result(),
        problems=tuple(dict.fromkeys(problems)),
    )


def read_vectors(settings: Settings) -> tuple[VectorStatus, ...]:
    """Return every registered vector; an embedded store that is not there yet has none."""
    registry = settings.open_registry()
    if not settings.has_registry:
        return ()
    check_server(registry)
    from storage.registry.records import history, judged
    from storage.registry.versions import CANDIDATE, CHAMPION, list_versions

    by_name: defaultdict[str, list[VectorVersion]] = defaultdict(list)
    for version in list_versions(registry):
        by_name[version.name].append(version)
    statuses = []
    for name, versions in by_name.items():
        past = history(registry, name)
        known = judged(past)
        moves = [record for record in past if record.moves]
        aliased = {alias: version for version in versions for alias in version.aliases}
        champion, candidate = aliased.get(CHAMPION), aliased.get(CANDIDATE)
        since = None
        if champion is not None and moves and moves[-1].version == champion.version:
            since = datetime.fromisoformat(moves[-1].time)
        statuses.append(
            VectorStatus(
                name,
                len(versions),
                champion and _version_status(champion),
                since,
                candidate and _version_status(candidate),
                tuple(sorted(v.version for v in versions if v.version not in known)),
                f"version {past[-1].version}: {past[-1].sentence}" if past else None,
            )
        )
    return tuple(statuses)


def _version_status(version: "VectorVersion") -> VersionStatus:
    return VersionStatus(version.version, version.verdict, version.created, *version.accuracies)


def read_pools(server: PrefectServer | None) -> tuple[PoolStatus, ...]:
    """Return the work pools of a server, with their workers and runs."""
    if server is None:
        return ()
    found = []
    for pool in server.ask("/work_pools/filter", {}):
        name = pool["name"]
        workers = server.ask(f"/work_pools/{quote(name, safe='')}/workers/filter", {})
        before = {"next_scheduled_start_time": {"before_": _ago(LATE_AFTER)}}
        late = _of_state("SCHEDULED") | before
        counts = [
            server.ask(
                "/flow_runs/count",
                {"flow_runs": runs, "work_pools": {"name": {"any_": [name]}}},
            )
            for runs in (late, _of_state("PENDING"), _of_state("RUNNING"))
        ]
        online = sum(worker["status"] == "ONLINE" for worker in workers)
        limit = pool["concurrency_limit"]
        found.append(PoolStatus(name, online, pool["is_paused"], limit, *counts))
    return tuple(found)


def read_schedules(server: PrefectServer | None) -> tuple[ScheduleStatus, ...]:
    """Return the schedules of a server's deployments, active or not."""
    if server is None:
        return ()
    deployments = [d for d in server.ask("/deployments/filter", {}) if d["schedules"]]
    names = {
        flow["id"]: flow["name"]
        for flow in server.ask(
            "/flows/filter", {"flows": {"id": {"any_": [d["flow_id"] for d in deployments]}}}
        )
    }
    found = []
    for deployment in deployments:
        planned = server.ask(
            "/flow_runs/filter",
            {
                "deployments": {"id": {"any_": [deployment["id"]]}},
                "flow_runs": _of_state("SCHEDULED")
                | {"next_scheduled_start_time": {"after_": _ago(timedelta(0))}},
                "sort": "NEXT_SCHEDULED_START_TIME_ASC",
                "limit": 1,
            },
        )
        next_run = (
            datetime.fromisoformat(planned[0]["next_scheduled_start_time"]) if planned else None
        )
        for schedule in deployment["schedules"]:
            active = schedule["active"] and not deployment["paused"]
            found.append(
                ScheduleStatus(
                    f"{names.get(deployment['flow_id'], '?')}/{deployment['name']}",
                    _in_words(schedule["schedule"]),
                    active,
                    next_run if active else None,
                )
            )
    return tuple(found)


def _ago(time: timedelta) -> str:
    return (datetime.now(UTC) - time).isoformat()


def _of_state(kind: str) -> dict[str, Any]:
    return {"state": {"type": {"any_": [kind]}}}


def _in_words(schedule: dict[str, Any]) -> str:
    if "cron" in schedule:
        return f"{schedule['cron']} {schedule.get('timezone') or 'UTC'}"
    if "interval" in schedule:
        return f"every {schedule['interval']:g} s"
    return str(schedule.get("rrule", "?"))


def age(then: datetime, now: datetime) -> str:
    """Write how long ago a moment is, or how far off: `3 days`, `in 5 min`."""
    seconds = (now - then).total_seconds()
    size = abs(seconds)
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if size < limit:
            text = f"{size / unit:.0f} {word}"
            break
    else:
        text = f"{size / 86400:.0f} days"
    return text if seconds >= 0 else f"in {text}"


def rows_of_vectors(status: Status) -> list[tuple[str, ...]]:
    """Return the vectors as cells under `VECTOR_HEADER`."""
    return [
        (
            vector.name,
            _shown(vector.champion),
            age(vector.champion_since, status.time) if vector.champion_since else "",
            _candidate(vector, status.time),
            ", ".join(map(str, vector.unjudged)),
            vector.last_decision or "none",
        )
        for vector in status.vectors
    ]


def _shown(version: VersionStatus | None) -> str:
    if version is None:
        return "none"
    accuracies = ""
    if version.baseline_accuracy is not None and version.steered_accuracy is not None:
        accuracies = f", {version.baseline_accuracy:.3f} → {version.steered_accuracy:.3f}"
    return f"{version.version} ({version.verdict or 'no verdict'}{accuracies})"


def _candidate(vector: VectorStatus, now: datetime) -> str:
    if vector.candidate is None:
        return "none"
    return f"{_shown(vector.candidate)}, made {age(vector.candidate.made, now)} ago"


def rows_of_pools(status: Status) -> list[tuple[str, ...]]:
    """Return the pools as cells under `POOL_HEADER`."""
    return [
        (
            pool.name,
            "paused" if pool.paused else str(pool.workers),
            *(str(n) for n in (pool.late, pool.pending, pool.running)),
            "none" if pool.limit is None else str(pool.limit),
        )
        for pool in status.pools
    ]


def rows_of_schedules(status: Status) -> list[tuple[str, ...]]:
    """Return the schedules as cells under `SCHEDULE_HEADER`."""
    return [(s.deployment, s.schedule, _next_run(s, status.time)) for s in status.schedules]


def _next_run(schedule: ScheduleStatus, now: datetime) -> str:
    if not schedule.active:
        return "off"
    return "none" if schedule.next_run is None else age(schedule.next_run, now)


def lake_in_words(status: Status) -> str:
    """Say where the lake is and what it holds."""
    files = f"{status.lake_files} file{'' if status.lake_files == 1 else 's'} of activations"
    return f"{status.lake}: {files}, {status.lake_bytes / 1e6:,.1f} MB"


def server_in_words(status: Status) -> str:
    """Say which server of Prefect was asked."""
    if status.server is None:
        return "No Prefect server: each command starts its own, and there are no schedules"
    return f"Prefect's server: {status.server}"


POOL_HEADER: Sequence[str] = ("pool", "workers", "late", "pending", "running", "limit")
SCHEDULE_HEADER: Sequence[str] = ("deployment", "schedule", "next run")
VECTOR_HEADER: Sequence[str] = (
    "vector",
    "champion",
    "for",
    "candidate",
    "never judged",
    "last decision",
)
