"""The metrics are read by Prometheus' own parsers, and the dashboard asks for no others."""

import json
import re
from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from pas.errors import UserError
from tasks.metrics import METRICS, documented, exposition, write_exposition
from tasks.status import PoolStatus, ScheduleStatus, Status, VectorStatus, VersionStatus
from tests.helpers.places import ROOT

NOW = datetime(2026, 11, 26, 6, tzinfo=UTC)
STATUS = Status(
    time=NOW,
    home="/home",
    vectors=(
        VectorStatus(
            'pas-a"b\\c', 3, VersionStatus(2, "real", NOW, 0.5, 0.75), NOW,
            VersionStatus(3, None, NOW, None, None), (3,), "version 2: promoted",
        ),
    ),
    lake="/home/lake", lake_files=4, lake_bytes=1024,
    server="http://127.0.0.1:4200/api",
    pools=(PoolStatus("gpu", 2, False, 1, late=3, pending=0, running=1),),
    schedules=(
        ScheduleStatus("train/train", "0 3 * * 1 UTC", True, NOW),
        ScheduleStatus("watch/watch", "0 4 * * 1 UTC", False, None),
    ),
    problems=("lake: gone",),
)  # fmt: skip


@pytest.mark.parametrize("read", [read_prometheus, read_openmetrics])
def test_parsers_of_prometheus_read_back_what_was_measured(read) -> None:
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in read(exposition(STATUS))
        for sample in family.samples
    }
    vector, weekly = 'pas-a"b\\c', ("0 3 * * 1 UTC", "train/train")
    assert found == {
        ("pas_version", "champion", vector, "real"): 2,
        ("pas_version", "", "candidate", vector): 3,
        ("pas_accuracy", "champion", "no", vector): 0.5,
        ("pas_accuracy", "champion", vector, "yes"): 0.75,
        ("pas_champion_since_seconds", vector): NOW.timestamp(),
        ("pas_versions_unjudged", vector): 1,
        ("pas_workers_online", "gpu"): 2,
        ("pas_flow_runs", "gpu", "late"): 3,
        ("pas_flow_runs", "gpu", "pending"): 0,
        ("pas_flow_runs", "gpu", "running"): 1,
        ("pas_schedule_active", *weekly): 1,
        ("pas_schedule_active", "0 4 * * 1 UTC", "watch/watch"): 0,
        ("pas_schedule_next_run_seconds", *weekly): NOW.timestamp(),
        ("pas_lake_files",): 4,
        ("pas_lake_bytes",): 1024,
        ("pas_problems",): 1,
        ("pas_status_time_seconds",): NOW.timestamp(),
    }


def test_the_file_is_replaced_whole(tmp_path) -> None:
    file = tmp_path / "pas.prom"
    file.write_text("older")
    write_exposition(STATUS, file)
    assert file.read_text() == exposition(STATUS) and [*tmp_path.iterdir()] == [file]
    with pytest.raises(UserError, match="--file"):
        write_exposition(STATUS, tmp_path / "nowhere" / "pas.prom")


def test_the_dashboard_asks_for_every_metric_and_no_other() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {name for query in asked for name in re.findall(r"\bpas_\w+", query)}
    assert names == {metric.name for metric in METRICS}


def test_the_documentation_lists_them_as_they_are() -> None:
    assert documented() in (ROOT / "docs" / "metrics.md").read_text()
