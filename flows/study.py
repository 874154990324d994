"""Study: run every cell as a sub-flow, go on past failures, and report over all of them."""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from prefect import flow
from prefect.deployments import run_deployment
from pydantic import TypeAdapter

from flows.artifacts import publish_study
from flows.states import add_to_name
from flows.study_cell import blank, study_cell
from pas.errors import UserError
from pas.study.file import read_study
from pas.study.plan import Study, StudyCell, cells
from pas.study.results import SCHEMA, StudyResult
from pas.study.summary import Summary, summarise
from storage.catalogue.views import cache_stats
from storage.lake.lineage import versions
from storage.registry.runs import log_study, run_tags
from storage.settings import settings
from tasks import resources
from tasks.reports.study_page import study_page
from tasks.reports.study_runs import gather
from tasks.results import read_result, result_stage

log = logging.getLogger("pas")
DEPLOYMENT = "study-cell/study-cell"
_CELL = TypeAdapter(StudyCell)


class StudyOutcome(NamedTuple):
    """A study's results, their summary, and the page that shows them."""

    results: list[StudyResult]
    summary: Summary
    page: Path


class _Done(NamedTuple):
    """A cell's result, whether it was run now, and the seconds that it took."""

    result: StudyResult
    fresh: bool
    seconds: float


@flow(name="study", flow_run_name="study")
def study(plan: Study | str, command: str = "", workers: int = 0) -> StudyOutcome:
    """Run what is missing, one sub-flow a cell, and write the report.

    A cell whose data and model are unchanged is taken from the lake; one that fails is reported
    as failed and tried again by the next run.

    Args:
        plan: From `pas.study.file.read_study`, or the path of a study file.
        command: The command that repeats the study, for the report.
        workers: Cells in flight through the deployment `study-cell`, for workers to run; 0 runs
            one after the other in this process.
    """
    plan = read_study(Path(plan)) if isinstance(plan, str) else plan
    add_to_name(f" {plan.name}")
    began, wanted = time.perf_counter(), cells(plan)
    done: list[_Done] = []
    for position, found in _run(wanted, workers):
        done.append(found)
        log.info(
            "study: %d of %d, %s: %s; %s",
            len(done),
            len(wanted),
            found.result.place,
            found.result.failed or _said(found.result),
            _left(wanted[position + 1 :], done, workers),
        )
    results = [found.result for found in done]
    summary = summarise(results)
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "models": ", ".join(dict.fromkeys(cell.recipe.model.id for cell in wanted)),
        "seeds": ", ".join(map(str, plan.seeds)),
        "settings": ", ".join(plan.settings),
        "cells": f"{len(wanted)}, {sum(found.fresh for found in done)} of them run now",
        "protocol": ", ".join(sorted({cell.recipe.protocol for cell in wanted})),
        "seconds now": f"{time.perf_counter() - began:.0f}",
        "activations": _stored(results),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "reproduce": command or "pas study",
    }
    folder = settings().root / "studies" / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    page, table = folder / "report.html", folder / "results.json"
    html = study_page(plan.name, results, summary, facts, gather(results))
    page.write_text(html, encoding="utf-8")
    document = {"schema": SCHEMA, "study": plan.name, "results": [r.as_dict() for r in results]}
    table.write_text(json.dumps(document, indent=1) + "\n")
    run_id = log_study(
        resources.registry(),
        settings().experiment,
        plan.name,
        [page, table],
        run_tags("pas study", settings().creator),
    )
    publish_study(plan.name, summary, run_id, page)
    return StudyOutcome(results, summary, page)


def _run(wanted: Sequence[StudyCell], workers: int) -> Iterator[tuple[int, _Done]]:
    """Yield each cell's position and result in order; trainings that others need run first."""
    if not workers:
        yield from enumerate(_one(cell, study_cell) for cell in wanted)
        return
    with ThreadPoolExecutor(workers) as pool:
        futures: dict[int, Future[_Done]] = {}
        for dependent in (False, True):
            chosen = [i for i, cell in enumerate(wanted) if bool(cell.target) is dependent]
            futures |= {i: pool.submit(_one, wanted[i], _on_a_worker) for i in chosen}
            for i in chosen:
                futures[i].result()
        yield from ((i, futures[i].result()) for i in range(len(wanted)))


def _one(cell: StudyCell, run: Callable[[StudyCell], StudyResult]) -> _Done:
    began = time.perf_counter()
    try:
        kept = read_result(result_stage(cell))
        if kept is not None:
            return _Done(kept, False, 0.0)
        result = run(cell)
    except Exception as error:  # the other cells are still worth having
        if not isinstance(error, UserError):
            log.exception("study: %s failed", blank(cell).place)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return _Done(blank(cell, failed=reason), True, time.perf_counter() - began)
    return _Done(result, True, time.perf_counter() - began)


def _on_a_worker(cell: StudyCell) -> StudyResult:
    """Have a worker run the cell; its result comes back through the lake.

    Raises:
        RuntimeError: If the worker's run did not end with a result.
    """
    ended = run_deployment(
        DEPLOYMENT, parameters={"cell": _CELL.dump_python(cell, mode="json")}, timeout=None
    )
    result = read_result(result_stage(cell))
    if result is None:
        state = ended.state  # type: ignore[union-attr]
        raise RuntimeError(state.message if state and state.message else "the run gave no result")
    return result


def _said(result: StudyResult) -> str:
    return f"{result.delta:+.3f}" + (f", {result.verdict}" if result.verdict else "")


def _left(todo: Sequence[StudyCell], done: Sequence[_Done], workers: int) -> str:
    """Estimate the time left, from what cells of the same setting took."""
    if not todo:
        return "done"
    spent: dict[str, list[float]] = defaultdict(list)
    for found in done:
        if found.fresh:
            spent[found.result.setting].append(found.seconds)
            spent[""].append(found.seconds)
    if not spent:
        return "from the lake"
    seconds = sum(fmean(spent.get(cell.setting) or spent[""]) for cell in todo)
    return (
        f"about {seconds / 60 / max(1, workers):.0f} min left if nothing of the rest is in the lake"
    )


def _stored(results: Sequence[StudyResult]) -> str:
    models = {result.fingerprint for result in results}
    found = [entry for entry in cache_stats(resources.lake()) if entry.fingerprint in models]
    prompts, size = sum(e.prompts for e in found), sum(e.bytes for e in found)
    return f"{prompts:,} prompts, {size / 1e6:,.1f} MB"
