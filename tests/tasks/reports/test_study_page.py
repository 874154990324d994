"""The report is one sound page with everything in it, whatever the study looks like."""

import re

import pytest

from pas.datasets import benchmarks
from pas.evidence.checks import CHECKS, REAL
from pas.methods.contrast import METHODS
from pas.study.results import CurvePoint, StudyResult
from pas.study.summary import summarise
from tasks.reports import paper as paper
from tasks.reports.study_page import study_page
from tasks.reports.study_runs import curves_of
from tasks.reports.words import answer, mark, meaning, short_names
from tests.helpers.pages import Page
from tests.helpers.places import ROOT

FACTS = {"date": "2026-01-02", "versions": "torch 2.9", "reproduce": "pas study my.yaml"}
LLAMA, DEMO = "meta-llama/Llama-3.1-8B-Instruct", "demo"


def page_of(results: list[StudyResult], name: str = "toy", facts: dict[str, str] = FACTS) -> Page:
    return Page(study_page(name, results, summarise(results), facts))


def cell(model: str, task: str, category: str, seed: int, gain: float, verdict: str) -> StudyResult:
    before = 0.5 + 0.01 * seed
    return StudyResult(
        model, task, category, seed, verdict=verdict, explanation=f"Because of {task}.",
        method="ipaswo", layer=14, strength=4.0, n_test=800, baseline_accuracy=before,
        steered_accuracy=before + gain, w2r=61, r2w=17, p_value=0.012, random_accuracy=0.505,
        method_deltas={"pasf": gain / 2, "ipaswo": gain}, seconds=10.0 + seed,
        run_id=f"run-{model}-{task}-{seed}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def results() -> list[StudyResult]:
    rows = []
    for model in (LLAMA, DEMO):
        for seed in range(3):
            noise = 0.004 * seed
            rows += [
                cell(model, "bbq_religion", "bias", seed, 0.06 + noise, "real"),
                cell(model, "truthfulqa", "alignment", seed, 0.3 + noise, "letter artefact"),
                cell(model, "arc_challenge", "intelligence", seed, 0.0, "no steering chosen"),
            ]
    failed = StudyResult(DEMO, "mine", "own", 1, failed="the file has no column 'answer'")
    return [*rows, cell(DEMO, "mine", "own", 0, 0.1, "unproven"), failed]


def test_everything_of_the_study_is_on_the_page(results: list[StudyResult]) -> None:
    page = page_of(results)
    for result in results:
        assert result.model in page.text and result.task in page.text
        if result.failed:
            assert result.failed in page.text
        else:
            assert result.verdict in page.text and result.explanation in page.text
            assert result.run_id in page.text
    assert all(value in page.text for value in FACTS.values())
    assert page.tags.count("h1") == 1 and {"svg", "details"} <= set(page.tags)
    assert "None" not in page.text and "nan" not in page.text.lower().split()
    assert "one seed: no test over seeds" in page.text
    assert "iPASwo, layer 14, × 4" in page.text
    for section in (
        "Gains as a picture",
        "with the paper’s gains",
        "All gains pooled",
        "What it cost",
        "Failed trainings",
        "Reproduce this study",
    ):
        assert section in page.text


def test_the_numbers_are_those_of_the_summary(results: list[StudyResult]) -> None:
    page, summary = page_of(results), summarise(results)
    first = summary.tasks[0]
    assert f"{first.test.mean:+.3f} {first.test.ci_low:+.3f} to {first.test.ci_high:+.3f}" in (
        page.text
    )
    assert f"{first.adjusted_p:.3f}" in page.text
    assert summary.pooled is not None and f"{summary.pooled.mean:+.3f}" in page.text
    assert summary.pooled.method in page.text
    assert "this study, 2 pairs +0.032 – +0.064 –" in page.text, "bias: PASf and iPASwo were tried"
    assert "paper, other models +0.037 +0.082 +0.101 not tried" in page.text


def test_the_answer_is_honest(results: list[StudyResult]) -> None:
    said = answer(summarise(results), len(results), {LLAMA: "Llama", DEMO: "demo"})
    assert "in 5 of 7 pairs of model and task, lowered it in 0, and changed nothing in 2" in said
    assert "call 2 of 5 gains real" in said and "bbq_religion on Llama (+0.064)" in said
    assert "letter artefact (2), unproven (1)" in said
    assert "1 of 20 trainings failed and are not in the numbers" in said
    artefacts = [r for r in results if r.task == "truthfulqa"]
    said = answer(summarise(artefacts), 6, {LLAMA: "Llama", DEMO: "demo"})
    assert "call 0 of 2 gains real" in said and "letter artefact (2)" in said
    level = [r for r in results if r.task == "arc_challenge"]
    assert "no gain for the controls" in answer(summarise(level), 6, {LLAMA: "L", DEMO: "d"})
    half = [cell("m", "t", "own", s, 0.1, v) for s, v in enumerate(("real", "unproven"))]
    said = answer(summarise(half), 2, {"m": "m"})
    assert "call 0 of 1 gain real" in said, "one of two is not most"


def test_nothing_is_loaded_or_run(results: list[StudyResult]) -> None:
    source = study_page("toy", results, summarise(results), FACTS)
    page = Page(source)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(page.tags)
    loads = [value for _, name, value in page.attributes
             if name in ("src", "href", "xlink:href", "srcset", "data", "action")]  # fmt: skip
    assert loads and all(value.startswith("#") for value in loads)
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", source))
    assert "@import" not in source and not [n for _, n, _ in page.attributes if n.startswith("on")]


def test_every_reference_on_the_page_has_its_target(results: list[StudyResult]) -> None:
    page = page_of(results)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    assert {v[1:] for _, name, v in page.attributes if name.endswith("href")} <= set(ids)


def test_the_picture_takes_the_colours_of_the_page(results: list[StudyResult]) -> None:
    source = study_page("toy", results, summarise(results), FACTS)
    picture = source[source.index("<svg") : source.index("</svg>")]
    assert "var(--ink)" in picture and "var(--accent)" in picture
    assert not re.search(r"#[0-9a-fA-F]{6}\b", picture) and "<style" not in picture
    assert "bbq_religion" in picture, "text is text"
    assert source == study_page("toy", results, summarise(results), FACTS)


def test_an_interval_of_no_width_is_no_evidence() -> None:
    rows = [cell("m", task, "own", 0, 0.1, "real") for task in ("a", "b")]
    page = page_of(rows)
    assert "The mean gain is +0.100." in page.text
    assert "without an interval. Method: mean; there is only one model" in page.text


def test_long_names_leave_room_for_the_picture() -> None:
    source = study_page("toy", rows := [cell("m" * 300, "t" * 300, "own", 0, 0.1, "real")],
                        summarise(rows), FACTS)  # fmt: skip
    picture = source[source.index("<svg") : source.index("</svg>")]
    assert "t" * 47 + "…" in picture and "t" * 300 in source and "m" * 300 in source


def test_markup_in_names_is_text() -> None:
    hostile = "<script>alert('1')</script> $x_1$ </svg>"
    rows = [cell(f"{hostile}m", hostile, hostile, s, 0.1 + s / 100, hostile) for s in range(2)]
    rows.append(StudyResult(hostile, hostile, hostile, 0, failed=hostile))
    page = page_of(rows, hostile, {hostile: hostile, "reproduce": hostile})
    assert "script" not in page.tags and page.tags.count("svg") == 1
    assert page.text.count("<script>alert('1')</script> $x_1$ </svg>") >= 10


def test_one_training_is_enough() -> None:
    page = page_of([cell("m", "bbq_ses", "bias", 0, 0.1, "real")])
    assert "one seed: no test over seeds" in page.text
    assert "No gain could be tested over seeds" in page.text
    assert "in 1 of 1 pair of model and task" in page.text and "0.500 0.600" in page.text
    # A gain of nothing from one seed has a p-value of 1, which is no test either.
    page = page_of([cell("m", "bbq_ses", "bias", 0, 0.0, "no steering chosen")])
    assert "one seed: no test over seeds" in page.text and "changed nothing in 1" in page.text


def test_seeds_that_all_gain_the_same_have_no_test() -> None:
    rows = [cell("m", "t", "own", s, 0.25, "real") for s in range(3)]
    rows = [StudyResult(**{**r.as_dict(), "baseline_accuracy": 0.5, "steered_accuracy": 0.75})
            for r in rows]  # fmt: skip
    page = page_of(rows)
    assert "no test: the differences are all the same" in page.text and "None" not in page.text


def test_a_study_that_failed_says_why() -> None:
    page = page_of([StudyResult("m", "t", "own", s, failed=f"reason {s}") for s in range(3)])
    assert "no training finished, of 3" in page.text and "svg" not in page.tags
    assert all(f"reason {seed}" in page.text for seed in range(3))


def test_a_study_of_nothing_is_a_page() -> None:
    assert "There is no answer" in page_of([], facts={}).text


def test_every_verdict_has_its_mark_and_meaning() -> None:
    verdicts = [*dict.fromkeys([REAL, *(check.label for check in CHECKS if check.blocks)]), "old"]
    page = page_of([cell("m", f"t{i}", "own", 0, 0.1, v) for i, v in enumerate(verdicts)])
    assert all(meaning(verdict) in page.text for verdict in verdicts)
    assert len({meaning(verdict) for verdict in verdicts}) == len(verdicts)
    assert (mark(REAL), mark("damaging"), mark("letter artefact"), mark("old")) == (
        "good", "bad", "warn", "none",
    )  # fmt: skip
    marks = [v.split()[1] for tag, n, v in page.attributes if n == "class" and "verdict " in v]
    assert set(marks) == {"good", "open", "none", "bad", "warn"}


def test_models_are_named_shortly_where_that_is_clear() -> None:
    assert short_names([LLAMA, DEMO, "/models/tiny/"]) == {
        LLAMA: "Llama-3.1-8B-Instruct", DEMO: DEMO, "/models/tiny/": "tiny"}  # fmt: skip
    assert short_names(["a/x", "b/x"]) == {"a/x": "a/x", "b/x": "b/x"}


def test_the_papers_tasks_and_methods_are_ours() -> None:
    assert set(paper.TASKS) <= set(benchmarks()) and len(paper.TASKS) == 18
    assert set(paper.METHOD_NAMES) == set(METHODS) and set(paper.METHODS) < set(METHODS)
    assert "sycophancy" not in paper.TASKS, "the paper counts agreeing as correct"


def test_the_papers_numbers_are_those_of_the_method_page() -> None:
    text = (ROOT / "docs" / "method.md").read_text()
    section = text.partition("## The authors' numbers")[2].partition("\n## ")[0]

    def read(head: str) -> dict[str, tuple[float, ...]]:
        """The table below the line: a name, then three numbers."""
        table = section.partition(f"{head}:\n\n")[2].partition("\n\n")[0]
        cells = [re.findall(r"[^| ][^|]*[^| ]", line) for line in table.splitlines()[2:]]
        return {name: tuple(map(float, numbers)) for name, *numbers in cells}

    assert read("Unsteered test accuracy") == {
        task.name: task.baselines for task in paper.TASKS.values()
    }
    gains = {name.capitalize(): gain for name, gain in paper.CATEGORY_GAINS.items()}
    gains |= {t.name: t.gains for t in paper.TASKS.values() if t.gains}
    assert read("Mean gain in accuracy over the three models") == gains


def test_forgetting_compares_each_seed_with_itself() -> None:
    """Only one seed chose strength 16, and that one knows more of the other task to begin with."""
    curves = [
        (0.3, (CurvePoint(0, 0.3, 0), CurvePoint(2, 0.28, 0.1))),
        (0.5, (CurvePoint(2, 0.5, 0.3), CurvePoint(16, 0.45, 2.0))),
    ]
    results = [
        StudyResult(DEMO, "one", "bias", seed, "forgetting", "other", baseline_accuracy=plain,
                   curve=points)
        for seed, (plain, points) in enumerate(curves)
    ]  # fmt: skip
    found = curves_of(results)["other"][DEMO, "one"]
    assert list(found) == [0, 2, 16]
    assert [change for change, _ in found.values()] == pytest.approx([0, -0.01, -0.05])
    assert [kl for _, kl in found.values()] == pytest.approx([0, 0.2, 2.0])
