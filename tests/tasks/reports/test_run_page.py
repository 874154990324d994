"""The report of a training says what was measured, escapes what it was given, and stands alone."""

import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import typer

import flows.train
from flows.cli.commands import app
from pas.engine.scoring import margin
from pas.evidence.controls import Controls
from pas.evidence.evaluation import MethodResult, bias_of
from pas.evidence.paired import compare
from pas.evidence.power import items_needed, smallest_gain
from pas.evidence.verdict import verdict
from pas.methods.answers import decided
from pas.methods.grid import Configuration
from pas.options import options_of
from pas.recipe import Recipe
from storage.catalogue.views import query
from storage.lake.lineage import versions
from storage.lake.stages import read_split
from storage.settings import settings
from tasks import resources
from tasks.answers import TEST, read_answers
from tasks.reports.command import command_line, run_facts
from tasks.reports.flips import flips
from tasks.reports.paper import METHOD_NAMES
from tasks.reports.run_figures import run_figures
from tasks.reports.run_page import RunReport, run_page
from tasks.reports.words import between, signed
from tasks.sweep import read_sweep
from tests.helpers.pages import Page
from tests.helpers.recipes import toy

pytestmark = pytest.mark.server

MARKS = {"passed": "✓", "failed": "✗", "warning": "!"}
HOSTILE = "<script>alert('1')</script> & </pre> </svg> {{ 7 * 7 }}"
LINEAGE = {
    "data_digest": "d1gest", "model_fingerprint": "f1ngerprint", "code_digest": "c0de",
    "versions": versions(),
}  # fmt: skip


def page_of(run: RunReport) -> Page:
    return Page(run_page(run))


@pytest.fixture(scope="module")
def runs(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, RunReport]]:
    """A real training under either scoring, with what its `record` was given."""
    home = tmp_path_factory.mktemp("run-report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAS_HOME", str(home / "home"))
        settings.cache_clear()
        recipe = toy(home, tiny_folder, strengths="1,4,16", max_kl=0.1)
        yield {s: _trained(patch, recipe.but(scoring=s)) for s in ("letter", "choice")}
    settings.cache_clear()
    resources.model_info.cache_clear()
    resources.resolved.cache_clear()


def _trained(patch: pytest.MonkeyPatch, recipe: Recipe) -> RunReport:
    real, seen = flows.train.record, []

    def record(*given: Any, **named: Any) -> Any:
        seen.append(given)
        return real(*given, **named)

    patch.setattr(flows.train, "record", record)
    outcome = flows.train.train(recipe).outcome
    patch.setattr(flows.train, "record", real)
    trail, evaluation, cost = seen[0][1:4]
    return RunReport(
        recipe,
        evaluation,
        read_sweep(recipe, trail.vectors, trail.sweep).cells,
        read_answers(trail.evaluation)[TEST],
        read_split(resources.lake(), trail.split),
        cost,
        run_facts(outcome.run_id, LINEAGE),
        resources.resolved(recipe).rule,
        resources.chat(recipe),
    )


def predictions(run: RunReport, split: str) -> Any:
    """The run's rows of the table `predictions`, as a data frame."""
    sql = f"SELECT * FROM predictions WHERE run_id = '{run.facts['MLflow run']}'"
    return query(resources.lake(), f"{sql} AND split = '{split}'").to_pandas()


def made(
    run: RunReport, before: list[int], after: list[int], at: Configuration, **changes: Any
) -> RunReport:
    """Replace a run's test answers: the index answered for each of the first items."""
    test = run.split.test[: len(before)]
    scores = {
        condition: [
            np.array([2.0 * (i == pick) - 0.25 * i for i in range(len(example.choices))])
            for example, pick in zip(test, picks, strict=True)
        ]
        for condition, picks in ((None, before), (at, after))
    }
    labels = np.array([example.label for example in test])
    answers = decided([example.id for example in test], labels, scores)
    right = [[p == e.label for p, e in zip(picks, test, strict=True)] for picks in (before, after)]
    comparison = compare(*right)
    roles = [bias_of(test, np.array(picks)) for picks in (before, after)]
    controls = Controls(comparison, at.strength, bias_before=roles[0], bias_after=roles[1])
    evaluation = replace(
        run.evaluation,
        selected=at,
        controls=controls,
        verdict=verdict(controls),
        methods={at.method: MethodResult(at, comparison)},
        random=(),
        letters=None,
    )
    return run._replace(
        evaluation=evaluation,
        answers=answers,
        split=run.split._replace(test=test),
        **changes,
    )


def pictures(source: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", source, re.S)]


@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_a_real_run_is_told_whole(runs: dict[str, RunReport], scoring: str) -> None:
    run = runs[scoring]
    page, test = page_of(run), run.evaluation.test
    verdict = run.evaluation.verdict
    assert page.tags.count("h1") == 1 and "None" not in page.text
    assert verdict.label in page.text and verdict.explanation in page.text
    for finding in verdict.findings:
        row = f"{finding.check} {MARKS[finding.result]} {finding.result} {finding.measured}"
        assert f"{row} {finding.needed} {finding.explanation}" in page.text
    gain = f"{test.delta:+.3f}" if test.delta else "0.000"
    assert f"Gain on the test items {gain}".replace("-", "−") in page.text
    assert f"{test.baseline_accuracy:.3f} → {test.steered_accuracy:.3f}" in page.text
    assert f"{test.w2r} / {test.r2w} wrong to right / right to wrong" in page.text
    for method, (at, comparison) in run.evaluation.methods.items():
        where = f"layer {at.layer}, × {at.strength:g}" if at.strength else "unsteered"
        assert f"{METHOD_NAMES[method]}, {where}" in run_page(run), "a row of the picture"
        assert f"{comparison.steered_accuracy:.3f}" in page.text
    assert ("Letters answered" in page.text) == (scoring == "letter")
    assert "Bias scores" not in page.text, "these choices have no roles"
    assert all(value in page.text for value in run.facts.values())
    assert command_line(run.recipe) in page.text
    cached = run.cost.prompts - run.cost.extracted
    assert f"{run.cost.prompts} prompts: {run.cost.extracted} run, {cached} from" in page.text


def test_every_cell_of_the_heat_maps_is_counted_from_the_answers(
    runs: dict[str, RunReport],
) -> None:
    run = runs["letter"]
    answers = predictions(run, "val")
    baseline = answers[answers["method"] == "none"]["correct"].mean()
    steered = answers[answers["method"] != "none"]
    shares = steered.groupby(["method", "layer", "strength"])["correct"].mean()
    # Of strength 0 the unsteered answers are kept once, for all methods and layers.
    assert len(shares) == 5 * 2 * 3 and len(run.cells) == 5 * 2 * 4
    maps = {p.get("aria-label", ""): p for p in pictures(run_page(run))}
    names = METHOD_NAMES | {"random": "random direction"}
    text = page_of(run).text
    for method, cells in shares.groupby("method"):
        start = f"{names[method]}: validation accuracy of 2 layers by 4 strengths"
        [picture] = [p for label, p in maps.items() if label.startswith(start)]
        written = [t.text.strip() for t in picture.iter("text") if t.text]
        gains = [gain for gain in written if re.fullmatch(r"0|[+−](\.\d{3}|1\.000)", gain)]
        drawn = sorted(float(gain.replace("−", "-")) for gain in gains if gain != "0")
        expected = sorted(round(share - baseline, 3) for share in cells)
        assert drawn == pytest.approx([gain for gain in expected if gain], abs=1e-9)
        assert len(gains) == 1 + 2 * 4, "the strength 0 at the axis, and every cell"
        for layer, row in cells.groupby("layer"):
            line = " ".join(f"{share:.3f}" for share in (baseline, *row))
            assert f"{names[method]} {layer:.0f} {line}" in text, "a row of the table"


@pytest.mark.parametrize("scoring", ["letter", "choice"])
def test_pictures_are_sound_and_take_the_pages_colours(
    runs: dict[str, RunReport], scoring: str
) -> None:
    source = run_page(runs[scoring])
    drawn = pictures(source)
    assert len(drawn) == 5 + 1 + 1, "five methods, by layer, and the gains"
    for picture in drawn:
        assert picture.get("role") == "img" and len(picture.get("aria-label", "")) > 30
        _, _, width, height = map(float, picture.get("viewBox", "").split())
        assert f"max-width:{width / 0.75:.0f}px" in picture.get("style", "")
        for element in picture.iter():
            style = element.get("style", "")
            assert not re.search(r"#[0-9a-f]{6}|font-family|font:", style), style
            if element.tag == "text" and element.get("x"):
                assert 0 <= float(element.get("x")) <= width, element.text
                assert 0 <= float(element.get("y")) <= height, element.text
    assert {"var(--ink)", "var(--muted)", "var(--accent)"} <= set(re.findall(r"var\(.*?\)", source))
    assert source == run_page(runs[scoring]), "the same values give the same page"


def test_mlflow_keeps_the_pictures_of_the_page(runs: dict[str, RunReport]) -> None:
    for run in runs.values():
        figures = run_figures(run.evaluation, run.cells)
        assert set(figures) == {f"sweep_{m}" for m in run.recipe.methods} | {"methods"}
        out = io.BytesIO()
        figures["methods"].savefig(out, format="png")
        assert out.getvalue().startswith(b"\x89PNG")
        assert figures["methods"].get_label() in {
            p.get("aria-label") for p in pictures(run_page(run))
        }


def test_nothing_is_loaded_or_run(runs: dict[str, RunReport]) -> None:
    for run in runs.values():
        source = run_page(run)
        page = Page(source)
        assert not {"script", "link", "iframe", "img", "object", "embed"} & set(page.tags)
        assert not [v for _, n, v in page.attributes if n in ("src", "srcset", "action")]
        targets = [v for _, n, v in page.attributes if n.endswith("href")]
        targets += re.findall(r"url\(([^)]*)\)", source)
        ids = [value for _, name, value in page.attributes if name == "id"]
        assert len(set(ids)) == len(ids)
        assert all(target[0] == "#" and target[1:] in ids for target in targets)
        assert "@import" not in source and "://" not in source


def test_flips_are_those_of_the_answers(runs: dict[str, RunReport]) -> None:
    for run in runs.values():
        at = run.evaluation.selected
        rows = predictions(run, "test").set_index("item_id")
        before = rows[rows["method"] == "none"]
        after = rows[
            (rows["method"] == at.method) & (rows["layer"] == at.layer)
            & (rows["strength"] == at.strength)
        ] if at.strength else before  # fmt: skip
        found = flips(run.split.test, run.answers, at, run.rule.kind, most=100)
        expected: list[set[str]] = [set(), set()]
        for item in before.index:
            if before["correct"][item] != after["correct"][item]:
                expected[int(before["correct"][item])].add(item)
        assert [{f.item_id for f in group.shown} for group in found] == expected
        test = run.evaluation.test
        assert [group.total for group in found] == [test.w2r, test.r2w]
        for flip in (*found[0].shown, *found[1].shown):
            for rows, key in ((before, "before"), (after, "after")):
                row = rows.loc[flip.item_id]
                assert [getattr(c, key) for c in flip.choices] == list(row["scores"])
                [picked] = [i for i, c in enumerate(flip.choices) if getattr(c, f"picked_{key}")]
                assert picked == row["choice"]
                wrong = [s for c, s in zip(flip.choices, row["scores"], strict=True) if not c.right]
                [right] = [s for c, s in zip(flip.choices, row["scores"], strict=True) if c.right]
                assert getattr(flip, f"margin_{key}") == right - max(wrong)


def test_the_farthest_flips_are_shown_and_all_are_counted(runs: dict[str, RunReport]) -> None:
    run = runs["choice"]
    test = run.split.test[:9]
    before = [(e.label + 1) % len(e.choices) for e in test[:7]] + [e.label for e in test[7:]]
    after = [e.label for e in test[:7]] + [(e.label + 1) % len(e.choices) for e in test[7:]]
    at = Configuration("caa", 1, 4.0)
    changed = made(run, before, after, at)
    page = page_of(changed)
    assert "From wrong to right: 7" in page.text and "From right to wrong: 2" in page.text
    assert "The 5 whose margin moved farthest." in page.text
    moved = {}
    for e, b, a in zip(test, before, after, strict=True):
        scores = [[float(i == p) - 0.25 * i for i in range(len(e.choices))] for p in (b, a)]
        moved[e.id] = abs(margin(scores[1], e.label) - margin(scores[0], e.label))
    ranked = sorted((e.id for e in test[:7]), key=lambda i: (-moved[i], i))
    shown = re.findall(r"<summary>([^<]+)<span", run_page(changed))
    assert shown[:5] == ranked[:5] and set(shown[5:]) == {e.id for e in test[7:]}
    assert margin((0.5, -1.0, 2.0), 0) == -1.5


def test_users_text_is_text(runs: dict[str, RunReport]) -> None:
    run = runs["letter"]
    test = tuple(
        replace(e, question=HOSTILE, group=HOSTILE, prefix="exemplars ",
                choices=tuple(f"{HOSTILE}{i}" for i in range(len(e.choices))),
                roles=(HOSTILE,) * len(e.choices))
        for e in run.split.test
    )  # fmt: skip
    labels = [e.label for e in test]
    wrong = [(e.label + 1) % len(e.choices) for e in test]
    hostile = made(
        run._replace(split=run.split._replace(test=test), recipe=run.recipe.but(data=HOSTILE)),
        wrong, labels, Configuration("caa", 1, 4.0), facts={HOSTILE: HOSTILE},
    )  # fmt: skip
    clean = made(run, wrong, labels, Configuration("caa", 1, 4.0))
    page = page_of(hostile)
    assert "script" not in page.tags
    assert page.tags.count("svg") == page_of(clean).tags.count("svg")
    assert page.tags.count("pre") == page_of(clean).tags.count("pre") == 6
    assert page.text.count(HOSTILE) >= 5 * (1 + 3 + 3) + 2, "prompts, choices, roles, facts"
    assert f"(worked examples) … {HOSTILE}" in page.text and "exemplars " not in page.text
    assert shlex.join([HOSTILE]) in page.text, "the data in the command"


def test_no_answer_flipped(runs: dict[str, RunReport]) -> None:
    run = runs["choice"]
    labels = [e.label for e in run.split.test]
    still = made(run, labels, labels, Configuration("pasf", 2, 1.0))
    page = page_of(still)
    assert "No test answer changed between right and wrong." in page.text
    assert "if 10% of the answers flip (none did)" in page.text
    assert "would show this one" not in page.text


def test_not_steering_won(runs: dict[str, RunReport]) -> None:
    run = runs["choice"]
    picks = [0] * len(run.split.test)
    page = page_of(made(run, picks, picks, Configuration("pasf", 1, 0.0)))
    assert "none did better on validation than not steering" in page.text
    assert "Bold frame" not in page.text and "selected, re-shuffled choices" not in page.text


def test_one_layer_and_one_strength_are_enough(runs: dict[str, RunReport]) -> None:
    run = runs["choice"]
    at = Configuration("caa", 2, 4.0)
    cells = [c for c in run.cells if c.configuration == at]
    picks = [0] * len(run.split.test)
    small = made(run, picks, picks, at, cells=cells)
    page = page_of(small)
    assert "Of 1 configuration, validation chose CAA at layer 2, strength 4" in page.text
    assert "Not steering was not among the choices." in page.text
    assert "By layer" not in page.text
    assert len(pictures(run_page(small))) == 2, "one heat map and the gains"


def test_the_power_and_the_interval_are_those_of_the_test(runs: dict[str, RunReport]) -> None:
    run = runs["choice"]
    wrong = [(e.label + 1) % len(e.choices) for e in run.split.test]
    labels = [e.label for e in run.split.test]
    n = len(labels)
    before, after = wrong[: n - 2] + labels[n - 2 :], labels[: n - 3] + wrong[n - 3 :]
    test = compare(
        [b == e for b, e in zip(before, labels, strict=True)],
        [a == e for a, e in zip(after, labels, strict=True)],
    )
    assert (test.w2r, test.r2w) == (n - 3, 2)
    page = page_of(made(run, before, after, Configuration("caa", 1, 4.0)))
    rate = (n - 1) / n
    least = smallest_gain(n, rate)
    assert least is not None
    assert f"{n} items show a gain of {least:+.3f} four times in five, if {rate:.0%}" in page.text
    assert f"; {items_needed((n - 5) / n, rate)} would show this one" in page.text
    interval = between(test.ci_low, test.ci_high)
    assert f"{signed(test.delta)}; {interval} (bootstrap over items)" in page.text


def test_bias_scores_are_counted_from_the_roles(runs: dict[str, RunReport]) -> None:
    run = runs["choice"]
    roles = ("unknown", "biased", "counter")
    three = [replace(e, choices=("a", "b", "c"), label=i % 3, roles=roles,
                     stratum="ambig" if i % 3 == 0 else "disambig", positions=())
             for i, e in enumerate(run.split.test[:9])]  # fmt: skip
    before, after = [1] * 9, [0, 1, 1, 0, 1, 1, 1, 1, 2]
    bbq = made(
        run._replace(split=run.split._replace(test=tuple(three))),
        before,
        after,
        Configuration("caa", 1, 4.0),
    )
    page = page_of(bbq)
    ambiguous = [a for a, e in zip(after, three, strict=True) if e.stratum == "ambig"]
    assert ambiguous == [0, 0, 1]
    # One of three named somebody, and that was in line with the stereotype: (1 - 2/3) * 1.
    assert "Bias score, ambiguous +1.000 +0.333" in page.text
    # All named somebody: five in line, one against: 2 * 5/6 - 1.
    assert "Bias score, disambiguated +1.000 +0.667" in page.text
    assert "Accuracy where the context does not tell 0.000 0.667" in page.text
    assert "Accuracy where it does 0.500 0.667" in page.text
    assert "“unknown” among the answers 0.000 0.222" in page.text


def _read_by_the_command_line(line: str) -> Recipe:
    program, name, *arguments = shlex.split(line)
    assert program == "pas"
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    given = command.make_context(name, arguments).params
    names = [option.name for option in options_of(Recipe) if given[option.name] is not None]
    return Recipe.read({name: given[name] for name in names})


@pytest.mark.parametrize("changes", [
    {},
    {"data": "my $HOME data/it's.csv", "choices_col": ("kind", "curt"), "length_norm": False},
    {"strengths": "-1,1", "methods": ("caa", "random"), "trust_remote_code": True, "seed": 3},
    {"group_col": "g", "id_col": "i", "data_split": "test", "order_seed": 0, "max_items": 50,
     "protocol": "paper", "site": "mlp", "scoring": "choice", "dtype": "float32"},
    {"max_kl": None, "max_items": None, "layers": "all", "data_revision": "abc"},
    {"max_kl": 0.25},
])  # fmt: skip
def test_the_command_gives_the_recipe_again(changes: dict[str, Any]) -> None:
    recipe = Recipe(**{"task": "toy", "data": "a.csv"} | changes)
    line = command_line(recipe)
    assert _read_by_the_command_line(line) == recipe
    assert line.count("--") == 2 + len(set(changes) - {"data"}), "defaults are left out"
