"""Prefect artifacts: what a run's page shows."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.outcome import Outcome
from pas.evidence.checks import Finding
from pas.evidence.drift import Drift
from pas.evidence.verdict import Verdict
from pas.methods.grid import Cell
from pas.study.summary import Summary
from storage.lake.compaction import Merge
from storage.registry.links import run_page, version_page
from storage.registry.origin import ORIGIN_TAG
from storage.registry.promotion import Promotion
from storage.registry.runs import REPORT_FOLDER
from storage.registry.versions import VectorVersion
from storage.settings import settings
from tasks.promote import Decision
from tasks.reports.page import report_file
from tasks.upkeep import Garbage
from tasks.watch import Watch


def publish_training(
    outcome: Outcome, findings: list[tuple[str, str, str]], verdict: Verdict, cells: Sequence[Cell]
) -> None:
    """Show the result at a glance, with links, and behind it the numbers, checks and sweep."""
    key, title = artifact_key(outcome.model_name), outcome.title
    links = training_links(outcome)
    create_markdown_artifact(
        summary_markdown(outcome, verdict, links),
        key=f"{key}-summary",
        description=f"Summary: {title} is {verdict.label}",
    )
    create_table_artifact(
        [{"what": what, "measured": measured, "note": note} for what, measured, note in findings],
        key=f"{key}-result",
        description=f"Numbers: what was measured of {title}",
    )
    create_table_artifact(
        checks_rows(verdict.findings),
        key=f"{key}-checks",
        description=f"Checks: is the gain of {title} real? {verdict.label}. {verdict.explanation}",
    )
    create_markdown_artifact(
        heat_map_markdown(cells),
        key=f"{key}-sweep",
        description=f"Sweep: validation accuracy of {title} by method, layer and strength",
    )
    for name, (text, address) in links.items():
        create_link_artifact(
            address, key=f"{key}-{name}", link_text=text, description=f"Link: {text}"
        )


def training_links(outcome: Outcome) -> dict[str, tuple[str, str]]:
    """Return the pages that show a training: text and address, by a short name."""
    registry, file = settings().open_registry(), report_file(outcome.run_id)
    page = run_page(registry, outcome.run_id, f"{REPORT_FOLDER}/{file.name}")
    links = {"report": (f"report of {outcome.title}", page or file.as_uri())}
    if outcome.version is not None:
        shown = version_page(registry, outcome.model_name, outcome.version)
        if shown is not None:
            links["mlflow"] = (f"{outcome.title} in MLflow", shown)
    return links


def summary_markdown(
    outcome: Outcome, verdict: Verdict, links: Mapping[str, tuple[str, str]]
) -> str:
    """Return a training in a few lines: verdict, gain, what was chosen, where to look further."""
    made = "registered as a candidate" if outcome.is_new else "held by an earlier version already"
    rows = {
        "verdict": f"**{verdict.label}**. {verdict.explanation}",
        "gain": f"{outcome.delta:+.3f} (p {outcome.p_value:.2g})",
        "test accuracy": f"{outcome.baseline_accuracy:.3f} without steering, "
        f"{outcome.steered_accuracy:.3f} with it",
        "chosen": f"{outcome.method}, layer {outcome.layer}, strength {outcome.strength:g}",
        "vector": "recorded only" if outcome.version is None else f"{outcome.title}, {made}",
        "took": f"{outcome.seconds['total']:.0f} s",
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items()), ""]
    return "\n".join([*lines, *(f"- [{text}]({address})" for text, address in links.values())])


def publish_unchanged(version: VectorVersion) -> None:
    """Show that nothing has changed since a version, and what both are made from."""
    rows = [
        f"| {key.removeprefix(ORIGIN_TAG).strip('_') or 'digest of all'} | `{value}` |"
        for key, value in sorted(version.tags.items())
        if key.startswith(ORIGIN_TAG)
    ]
    create_markdown_artifact(
        "\n".join(["| made from | |", "|---|---|", *rows]),
        key=f"{artifact_key(version.name)}-unchanged",
        description=f"Summary: {version.name}, nothing changed since version {version.version}",
    )


def publish_watch(found: Watch, drift: Drift, source: str, run_id: str, step: int) -> None:
    """Show a champion on fresh rows beside what it had, and a link to the trend."""
    champion, key = found.champion, f"{artifact_key(found.champion.name)}-watch"
    rows = [
        {
            "items": what,
            "n": str(part.n),
            "unsteered": f"{part.baseline_accuracy:.3f}",
            "steered": f"{part.steered_accuracy:.3f}",
            "gain": f"{part.delta:+.3f} ({part.ci_low:+.3f} to {part.ci_high:+.3f})",
        }
        for what, part in ((f"fresh, of {source}", drift.fresh), ("its test items", drift.before))
    ]
    create_table_artifact(
        rows,
        key=key,
        description=f"Summary: {champion.name} version {champion.version}, look {step + 1}: "
        f"{drift.explanation}",
    )
    link = run_page(settings().open_registry(), run_id)
    if link is not None:
        create_link_artifact(
            link,
            key=f"{key}-trend",
            link_text=f"trend of {champion.name} in MLflow",
            description="Link: accuracies and gain on fresh rows, a step a look",
        )


def publish_study(name: str, summary: Summary, run_id: str, page: Path) -> None:
    """Show a study's table, and a link to its report."""
    key = artifact_key(f"study-{name}")
    lines = ["| task | model | setting | seeds | unsteered | steered | gain |", "|---" * 7 + "|"]
    lines += [
        f"| {t.task} | {t.model} | {t.setting} {t.variant} | {len(t.seeds)} "
        f"| {t.baseline_accuracy:.3f} | {t.steered_accuracy:.3f} | {t.test.mean:+.3f} |"
        for rows in (summary.tasks, *summary.others.values())
        for t in rows
    ]
    create_markdown_artifact(
        "\n".join(lines), key=f"{key}-table", description=f"Summary: study {name}"
    )
    link = run_page(settings().open_registry(), run_id, page.name) or page.as_uri()
    text = f"report of study {name}"
    create_link_artifact(link, key=f"{key}-report", link_text=text, description=f"Link: {text}")


def publish_decision(decision: Decision) -> None:
    """Show the table of checks that decided on a promotion."""
    create_table_artifact(
        checks_rows(decision.findings),
        key=f"{artifact_key(decision.name)}-promotion",
        description=f"Decision: {decision.name} version {decision.version}: {decision.summary}",
    )


def publish_maintenance(
    removed: Sequence[Garbage], merged: Sequence[Merge], backup: Path | None, *, dry_run: bool
) -> None:
    """Show what was removed from the lake, what was merged, and where the home was copied to."""
    to, copied = "to be " if dry_run else "", "no back-up was asked for"
    if backup:
        copied = f"home copied to {backup}"
    rows = [{"file": e.address, "reason": e.reason, "bytes": str(e.bytes)} for e in removed]
    for one in merged:
        folder = posixpath.dirname(one.addresses[0])
        reason = f"{to}merged into one file"
        rows.append(
            {"file": f"{len(one.addresses)} files in {folder}", "reason": reason,
             "bytes": str(one.bytes)}
        )  # fmt: skip
    n = sum(len(one.addresses) for one in merged)
    create_table_artifact(
        rows,
        key="maintenance",
        description=f"Summary: {len(removed)} files {to}removed, {n} {to}merged; {copied}",
    )


def publish_rollback(done: Promotion) -> None:
    """Show which version is champion again."""
    create_markdown_artifact(
        f"Version **{done.version}** is champion in place of version {done.replaced}.",
        key=f"{artifact_key(done.name)}-rollback",
        description=f"Rollback: {done.name} is version {done.version} again",
    )


def checks_rows(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return the table of checks with its measured values, one row per check."""
    return [
        {
            "result": finding.result,
            "check": finding.check,
            "measured": finding.measured,
            "limit": finding.needed,
            "meaning": finding.explanation,
        }
        for finding in findings
    ]


def heat_map_markdown(cells: Sequence[Cell]) -> str:
    """Return a table for each method: validation accuracy, layers down, strengths across."""
    lines = []
    for method in dict.fromkeys(c.configuration.method for c in cells):
        own = {c.configuration[1:]: c for c in cells if c.configuration.method == method}
        strengths = sorted({strength for _, strength in own})
        best = max((c.correct / c.n for c in own.values() if not c.undecided), default=0.0)
        lines += [f"### {method}", "", "| layer \\ strength |"]
        lines[-1] += "".join(f" {s:g} |" for s in strengths)
        lines.append("|---" * (len(strengths) + 1) + "|")
        for layer in sorted({layer for layer, _ in own}):
            shown = [_shown(own[layer, s], best) for s in strengths]
            lines.append(f"| {layer} | " + " | ".join(shown) + " |")
        lines.append("")
    return "\n".join(lines)


def _shown(cell: Cell, best: float) -> str:
    if cell.undecided:
        return "broken"
    value = cell.correct / cell.n
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"


def artifact_key(name: str) -> str:
    """Return the name in the characters that Prefect allows in an artifact's key."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
