"""The production method against the literal oracle: strings, answers, vectors, every cell."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from pas.data.chat import chat_of, prompt_style
from pas.data.examples import Example, ItemAnswer
from pas.data.prompts import encode, full_prompt, statement
from pas.data.splits import Protocol, order_choices
from pas.datasets import benchmarks
from pas.engine.decisions import decide
from pas.engine.extract import capture
from pas.engine.prefix import Steering
from pas.engine.scoring import ScoringRule, query_of, rule_of
from pas.engine.sweep import score_rows
from pas.intake.items import parse_rows
from pas.intake.sources import Source, read_rows
from pas.methods.contrast import METHODS, contrast_sets
from pas.methods.grid import read_layer
from pas.models.loading import LoadedModel, ModelInfo
from tests.helpers import oracle
from tests.helpers.chat_templates import LLAMA3, TEMPLATE_OF, ChatTemplate
from tests.helpers.tiny_models import ONE_FAST, toy_questions

SEED = 11
NEAR_TIE = 1e-4


class Case(NamedTuple):
    protocol: Protocol
    scoring: str
    length_norm: bool = False
    template: ChatTemplate | None = None
    system: str | None = None
    close_thinking: bool = False

    def rule(self, info: ModelInfo) -> ScoringRule:
        asked = "plain" if self.template is None else "chat"
        style = prompt_style(info, asked, self.system, self.close_thinking)
        return rule_of(self.scoring, self.protocol, self.length_norm, style)

    def oracle_scoring(self, tokenizer: Any) -> oracle.Scoring:
        chat = None
        if self.template is not None:
            facts = self.template
            chat = oracle.Chat(
                tokenizer, facts.fixed, self.system, facts.gap, facts.header,
                facts.close if self.close_thinking else "",
            )  # fmt: skip
        ties: Any = "first" if self.protocol == "paper" else "even"
        if self.scoring == "choice":
            return oracle.Scoring("choice", length_norm=self.length_norm, chat=chat, ties=ties)
        return oracle.Scoring("letter", "bare" if ties == "first" else "both", chat=chat, ties=ties)


CASES = {
    "paper-letter": Case("paper", "letter"),
    "sound-letter": Case("sound", "letter"),
    "sound-choice-mean": Case("sound", "choice", length_norm=True),
    "sound-choice-sum": Case("sound", "choice", length_norm=False),
}


class Sized(NamedTuple):
    """How much of the grid is compared."""

    n_train: int
    methods: tuple[str, ...]
    layers: tuple[int, ...]
    strengths: tuple[float, ...]
    engines: tuple[str, ...] = ("prefix", "hooks")


def oracle_item(example: Example, protocol: Protocol) -> oracle.Item:
    """`example` has its choices in the data set's own order."""
    n = len(example.choices)
    order = (
        oracle.paper_order(n, SEED)
        if protocol == "paper"
        else oracle.sound_order(n, SEED, example.id)
    )
    return oracle.Item(
        example.id, example.question, example.choices, example.label, order, example.fact
    )


def vectors_of(
    model: LoadedModel, answered: list[ItemAnswer], case: Case, sized: Sized
) -> dict[tuple[str, int], np.ndarray]:
    """mean(positives) - mean(negatives) in float64, from captured activations."""
    rule = case.rule(model.info)
    sets = contrast_sets(sized.methods, answered, rule.kind, chat_of(model.info, rule.prompt))
    texts = sorted({text for chosen in sets.values() for side in chosen for text in side})
    reads = {layer: read_layer(layer, case.protocol) for layer in sized.layers}
    acts = capture(model, [encode(model.info, t) for t in texts], list(reads.values()))
    place, values = {text: i for i, text in enumerate(texts)}, acts.values.double().numpy()

    def mean(side: list[str], layer: int) -> Any:
        return values[[place[text] for text in side], acts.layers.index(reads[layer])].mean(axis=0)

    return {
        (method, layer): mean(chosen.positives, layer) - mean(chosen.negatives, layer)
        for method, chosen in sets.items()
        for layer in sized.layers
    }


def shape_of(scores: Any, kind: str) -> np.ndarray:
    """Letter scores lack a normaliser that all letters share, so only differences count."""
    found = np.asarray(scores, dtype=np.float64)
    return found - found.mean() if kind == "letter" else found


def compare(
    model: LoadedModel, raw: Sequence[Example], case: Case, sized: Sized, tolerance: float
) -> None:
    shown = [order_choices(e, SEED, case.protocol) for e in raw]
    items = [oracle_item(e, case.protocol) for e in raw]
    scoring, rule = case.oracle_scoring(model.tokenizer), case.rule(model.info)
    kind, chat = rule.kind, chat_of(model.info, rule.prompt)
    for example, item in zip(shown, items, strict=True):
        assert list(example.choices) == item.shown_choices
        assert (example.label, example.positions) == (item.shown_label, item.order)
        assert full_prompt(example, kind, chat) == oracle.prompt_of(item, scoring)
        for at, original in enumerate(item.order):
            expected = oracle.statement_of(item, original, scoring)
            assert statement(example, at, chat) == expected

    n, network, tokenizer = sized.n_train, model.model, model.tokenizer
    questions = [query_of(model.info, e, rule) for e in shown]
    plain = score_rows(model, questions[:n], [], length_norm=case.length_norm)
    ids = [e.id for e in shown]
    picks = decide([s[0].numpy() for s in plain], ids[:n], rule.ties).tolist()
    assert picks == oracle.predict(network, tokenizer, items[:n], scoring)

    answered = [ItemAnswer(e, p) for e, p in zip(shown[:n], picks, strict=True)]
    vectors = vectors_of(model, answered, case, sized)
    expected_vectors = oracle.build_vectors(
        network, tokenizer, items[:n], sized.methods, sized.layers, scoring, case.protocol
    )
    assert vectors.keys() == expected_vectors.keys()
    for key, vector in vectors.items():
        expected_vector = expected_vectors[key].numpy()
        error = np.linalg.norm(vector - expected_vector)
        # Not a ratio: every prompt ends alike, so a vector read at the embedding may be zero.
        assert error <= 1e-5 * np.linalg.norm(expected_vector), key

    cells = oracle.sweep(network, tokenizer, items[n:], expected_vectors, sized.strengths, scoring)
    configurations = list(cells)
    rows = [
        Steering(at[1], torch.from_numpy(at[2] * vectors[at[:2]]).float()) for at in configurations
    ]
    for engine in sized.engines:
        found = score_rows(model, questions[n:], rows, length_norm=case.length_norm, engine=engine)
        compared = 0
        for column, at in enumerate(configurations, start=1):
            for item, expected_scores in enumerate(cells[at].scores):
                scores = found[item][column].numpy()
                np.testing.assert_allclose(
                    shape_of(scores, kind), shape_of(expected_scores, kind),
                    atol=tolerance, rtol=0, err_msg=f"{engine}, {at}, item {item}",
                )  # fmt: skip
                best, second = sorted(expected_scores, reverse=True)[:2]
                if best - second > NEAR_TIE:
                    compared += 1
                    (found_answer,) = decide([scores], [items[n + item].id], rule.ties)
                    assert found_answer == cells[at].predictions[item], (engine, at, item)
        assert compared >= 0.97 * len(configurations) * len(items[n:])


@pytest.mark.parametrize("arch", [*ONE_FAST, pytest.param("llava", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_tiny_models(tiny: Callable[[str], LoadedModel], arch: str, case: Case) -> None:
    raw = [Example(**row, group=row["id"]) for row in toy_questions(16, seed=3)]
    sized = Sized(n_train=12, methods=tuple(METHODS), layers=(0, 2, 3), strengths=(-1.0, 4.0))
    compare(tiny(arch), raw, case, sized, tolerance=2e-4)


@pytest.mark.parametrize("arch", ONE_FAST)
@pytest.mark.parametrize(
    ("scoring", "system", "close_thinking"),
    [("letter", None, False), ("letter", "Be brief.", True), ("choice", None, True)],
)
def test_chat_prompts_of_tiny_models(
    tiny: Callable[..., LoadedModel],
    arch: str,
    scoring: str,
    system: str | None,
    close_thinking: bool,
) -> None:
    template = TEMPLATE_OF[arch]
    case = Case(
        "sound", scoring, True, template, system if template.takes_system else None,
        close_thinking and bool(template.close),
    )  # fmt: skip
    raw = [Example(**row, group=row["id"]) for row in toy_questions(14, seed=5)]
    sized = Sized(n_train=10, methods=tuple(METHODS), layers=(1, 3), strengths=(-1.0, 4.0))
    compare(tiny(arch, template.text), raw, case, sized, tolerance=2e-4)


def test_chat_prompts_with_a_choice_for_every_letter(
    tiny: Callable[..., LoadedModel],
) -> None:
    raw = [
        Example(f"wide-{i}", f"Which number is {i} squared?", choices, (7 * i) % 26, f"{i}")
        for i in range(8)
        for choices in [tuple(str(n * n + i) for n in range(26))]
    ]
    sized = Sized(5, ("pasf", "caa"), (2,), (4.0,))
    case = Case("sound", "letter", template=LLAMA3)
    compare(tiny("llama", LLAMA3.text), raw, case, sized, tolerance=2e-4)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_items_with_a_choice_for_every_letter(
    tiny: Callable[[str], LoadedModel], case: Case
) -> None:
    raw = []
    for at, row in enumerate(toy_questions(10, seed=5)):
        choices = tuple(f"{row['choices'][0]}, {n} or {n + at + 1}" for n in range(26))
        raw.append(
            Example(row["id"], row["question"], choices, (7 * at) % 26, row["id"], fact=row["fact"])
        )
    sized = Sized(n_train=6, methods=("pasf", "caa"), layers=(1,), strengths=(2.0,))
    compare(tiny("llama"), raw, case, sized, tolerance=2e-4)


@pytest.mark.whole
@pytest.mark.parametrize(("protocol", "method"), [("paper", "pasf"), ("sound", "ipaswo")])
def test_bbq_with_a_trained_model(
    smollm: LoadedModel, shared_data: Path, protocol: Protocol, method: str
) -> None:
    task = benchmarks()["bbq_age"]
    assert task.parse is not None
    rows = read_rows(Source(str(shared_data / "bbq" / "Age.jsonl")))
    # One row of each template; the shortest fourteen are half ambiguous, with every label.
    by_group = {e.group: e for e in parse_rows(rows, task.parse, task.name)[::3]}
    chosen = sorted(by_group.values(), key=lambda e: len(e.question))[:14]
    # Training and validation items take turns, as the sort put the ambiguous ones first.
    raw = [*chosen[::2], *chosen[1::2]]
    # The oracle runs every cell in full, so one estimator and one engine must do here.
    sized = Sized(10, (method,), (9, 20), (4.0, -8.0), engines=("prefix",))
    compare(smollm, raw, Case(protocol, "letter"), sized, tolerance=2e-4)
