"""Watch: has the champion fallen below what it had, on rows that were labelled since."""

import logging

from prefect import flow

from flows.artifacts import publish_watch
from flows.events import ChampionDrifted
from flows.states import ended
from pas.evidence.drift import Drift, accuracy_interval
from pas.intake.sources import Source
from storage.http import without_credentials
from storage.registry.runs import run_tags
from storage.registry.watches import log_watch
from storage.settings import settings
from tasks import resources
from tasks.watch import Watch, score_fresh

log = logging.getLogger("pas")


@flow(name="watch", flow_run_name="watch {name}")
def watch(name: str, data: Source | str) -> Watch:
    """Score the champion and the unsteered model on freshly labelled rows, and keep the trend.

    The accuracies, the gain and their intervals become a step of the MLflow run "watch NAME", one
    run for each vector and source. If the champion has fallen below what it had on its test items,
    an event says so; with too few rows nothing is decided.

    Args:
        name: Registered model that has a champion.
        data: Fresh rows in the columns of the training's data: a path, URL or hub id, or where and
            how to read them. Items that the training had are left out.

    Raises:
        UserError: If there is no champion, or the rows cannot be read.
    """
    source = Source(data) if isinstance(data, str) else data
    found = score_fresh(name, source)
    where, champion, drift = without_credentials(str(source.name)), found.champion, found.drift
    if drift is None:
        said = f"all {found.known} items were in the training already; there is nothing fresh"
        log.info("watch: %s", said)
        return ended("Nothing fresh", said, found)
    run_id, step = log_watch(
        resources.registry(), settings().experiment, name, where,
        metrics(drift) | {"champion/version": champion.version},
        run_tags("pas watch", settings().creator),
    )  # fmt: skip
    log.info("watch: %s version %d: %s", name, champion.version, drift.explanation)
    if drift.drifted:
        ChampionDrifted(
            name,
            champion.version,
            found.task,
            where,
            drift.fresh.n,
            round(drift.fresh.steered_accuracy, 4),
            round(drift.fresh.baseline_accuracy, 4),
            round(drift.before.steered_accuracy, 4),
            drift.explanation,
        ).emit()
    publish_watch(found, drift, where, run_id, step)
    return ended(drift.finding.capitalize(), drift.explanation, found)


def metrics(drift: Drift) -> dict[str, float]:
    """Return what is kept of one look at fresh rows, by metric name."""
    fresh, values = drift.fresh, dict[str, float]()
    for what, accuracy in (
        ("steered", fresh.steered_accuracy),
        ("unsteered", fresh.baseline_accuracy),
    ):
        low, high = accuracy_interval(accuracy, fresh.n)
        values |= {f"fresh/accuracy_{what}{end}": v
                   for end, v in (("", accuracy), ("_low", low), ("_high", high))}  # fmt: skip
    return values | {
        "fresh/gain": fresh.delta,
        "fresh/gain_low": fresh.ci_low,
        "fresh/gain_high": fresh.ci_high,
        "fresh/items": fresh.n,
        "fresh/p_fall": drift.p_fall,
        "fresh/p_harm": drift.p_harm,
        "fresh/drifted": float(drift.drifted),
        "champion/accuracy_steered": drift.before.steered_accuracy,
    }
