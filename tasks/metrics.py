"""The status as metrics in the text formats of Prometheus and OpenMetrics."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from pas.errors import UserError
from pas.files import write_whole
from tasks.status import Status, VersionStatus

Samples = Iterable[tuple[tuple[str, ...], float]]


class Metric(NamedTuple):
    """A gauge: its name, what it measures, its labels, and how it is read off the status."""

    name: str
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Status], Samples]


def _versions(status: Status) -> Iterator[tuple[str, str, VersionStatus]]:
    for vector in status.vectors:
        for alias, version in (("champion", vector.champion), ("candidate", vector.candidate)):
            if version is not None:
                yield vector.name, alias, version


def _accuracy(status: Status) -> Samples:
    for name, alias, version in _versions(status):
        for steered, value in (
            ("no", version.baseline_accuracy),
            ("yes", version.steered_accuracy),
        ):
            if value is not None:
                yield (name, alias, steered), value


def _runs(status: Status) -> Samples:
    for pool in status.pools:
        for state in ("late", "pending", "running"):
            yield (pool.name, state), getattr(pool, state)


def _champion_since(status: Status) -> Samples:
    for vector in status.vectors:
        if vector.champion_since is not None:
            yield (vector.name,), vector.champion_since.timestamp()


def _next_runs(status: Status) -> Samples:
    for schedule in status.schedules:
        if schedule.next_run is not None:
            yield (schedule.deployment, schedule.schedule), schedule.next_run.timestamp()


METRICS = (
    Metric(
        "pas_version",
        "Number of the version that has the alias; its verdict is a label",
        ("vector", "alias", "verdict"),
        lambda s: (((name, alias, v.verdict or ""), v.version) for name, alias, v in _versions(s)),
    ),
    Metric(
        "pas_accuracy",
        "Test accuracy of the version that has the alias, from 0 to 1",
        ("vector", "alias", "steered"),
        _accuracy,
    ),
    Metric(
        "pas_champion_since_seconds",
        "When the champion became champion, Unix time",
        ("vector",),
        _champion_since,
    ),
    Metric(
        "pas_versions_unjudged",
        "Versions that no decision was made about",
        ("vector",),
        lambda s: (((v.name,), len(v.unjudged)) for v in s.vectors),
    ),
    Metric(
        "pas_workers_online",
        "Workers of the pool that sent a heartbeat lately",
        ("pool",),
        lambda s: (((p.name,), p.workers) for p in s.pools),
    ),
    Metric(
        "pas_flow_runs",
        "Flow runs of the pool: late (due for a minute or more), pending or running",
        ("pool", "state"),
        _runs,
    ),
    Metric(
        "pas_schedule_active",
        "1 if the schedule is on, else 0",
        ("deployment", "schedule"),
        lambda s: (((x.deployment, x.schedule), float(x.active)) for x in s.schedules),
    ),
    Metric(
        "pas_schedule_next_run_seconds",
        "When the schedule's next run is due, Unix time; absent without one",
        ("deployment", "schedule"),
        _next_runs,
    ),
    Metric(
        "pas_lake_files",
        "Files of activations in the lake",
        (),
        lambda s: [((), s.lake_files)],
    ),
    Metric(
        "pas_lake_bytes",
        "Size of the activations in the lake",
        (),
        lambda s: [((), s.lake_bytes)],
    ),
    Metric(
        "pas_problems",
        "Stores that could not be asked; their metrics are absent or 0",
        (),
        lambda s: [((), len(s.problems))],
    ),
    Metric(
        "pas_status_time_seconds",
        "When all of this was asked for, Unix time",
        (),
        lambda s: [((), s.time.timestamp())],
    ),
)


class StatusCollector(Collector):
    """Asks for the status each time that the metrics are read."""

    def __init__(self, ask: Callable[[], Status]) -> None:
        """Keep how to ask."""
        self._ask = ask

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield each metric with its samples."""
        status = self._ask()
        for metric in METRICS:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.samples(status):
                family.add_metric(labels, value)
            yield family


def registry(ask: Callable[[], Status]) -> CollectorRegistry:
    """Return a registry of prometheus_client that holds our metrics alone."""
    made = CollectorRegistry(auto_describe=False)
    made.register(StatusCollector(ask))
    return made


def exposition(status: Status) -> str:
    """Return the metrics as OpenMetrics text, which Prometheus' own parser reads too."""
    text: bytes = generate_latest(registry(lambda: status))  # type: ignore[no-untyped-call]
    return text.decode()


def write_exposition(status: Status, file: Path) -> None:
    """Write the metrics, whole or not at all, as node_exporter's textfile collector needs it.

    Raises:
        UserError: If the file cannot be written.
    """
    try:
        write_whole(file, exposition(status).encode())
    except OSError as error:
        raise UserError(f"--file {file}: cannot be written ({error.strerror})") from error


def documented() -> str:
    """Return the table of metrics as Markdown."""
    lines = ["| metric | labels | what |", "|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"
