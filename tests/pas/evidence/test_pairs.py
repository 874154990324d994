"""Blind pairs, their judges, and the win rate."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import binomtest

from pas.errors import UserError
from pas.evidence.blind_csv import read_verdicts, write_pairs
from pas.evidence.judges import by_function, by_score, fluency, length, refusal, repetition
from pas.evidence.pairs import Pair, judged, pairs_of, win_rate
from pas.models.loading import LoadedModel
from pas.steering.generate import generate
from tests.helpers import oracle
from tests.helpers.steering import a_vector

Tiny = Callable[..., LoadedModel]
PROMPTS = [f"Where does the heron sleep {n}?" for n in range(8)]


def test_pairs_are_the_texts_in_an_order_that_tells_nothing(tiny: Tiny) -> None:
    model = tiny("llama")
    vector = a_vector(model)
    pairs = pairs_of(model, vector, PROMPTS, strength=2.0, max_new_tokens=6)
    for prompt, pair in zip(PROMPTS, pairs, strict=True):
        texts = {pair.steered: pair[2] if pair.steered == "first" else pair[3]}
        assert pair.prompt == prompt
        expected = generate(model, prompt, vector, strength=2.0, max_new_tokens=6)
        assert texts[pair.steered] == expected
        other = pair.second if pair.steered == "first" else pair.first
        assert other == generate(model, prompt, None, max_new_tokens=6)
    assert {pair.steered for pair in pairs} == {"first", "second"}
    assert pairs == pairs_of(model, vector, PROMPTS, strength=2.0, max_new_tokens=6)
    with pytest.raises(UserError, match="no prompts"):
        pairs_of(model, vector, [])


def some(n: int) -> list[Pair]:
    return [Pair(str(i), "p", f"a {i}", f"b {i}", "first" if i % 3 else "second") for i in range(n)]


def test_the_win_rate() -> None:
    pairs = some(12)
    choices = [*[p.steered for p in pairs[:7]], "tie", "tie"]
    choices += ["second" if p.steered == "first" else "first" for p in pairs[9:]]
    found = win_rate(pairs, choices)  # type: ignore[arg-type]
    assert (found.n, found.wins, found.losses, found.ties) == (12, 7, 3, 2)
    assert found.rate == 8 / 12
    assert found.p_value == pytest.approx(binomtest(7, 10).pvalue)
    z, p, n = 1.959964, 8 / 12, 12  # Wilson (1927)
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    ends = tuple((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    assert (found.low, found.high) == pytest.approx(ends, rel=1e-5)
    ties = win_rate(pairs, ["tie"] * 12)
    assert (ties.rate, ties.p_value) == (0.5, 1.0)


def test_measures() -> None:
    assert length("", "two words") == 2
    assert repetition("", "a b c d a b c d") == pytest.approx(-1 / 5)
    assert repetition("", "a b") == 0
    assert refusal("", "I'm sorry, but no.") == refusal("", "As an AI, I pass") == 1
    assert refusal("", "I can do that.") == 0
    pair = Pair("1", "p", "one two three", "one", "first")
    assert judged([pair], by_score(length, "length")) == ["first"]
    assert judged([pair._replace(first="one")], by_score(length, "length")) == ["tie"]
    with pytest.raises(UserError, match="pair 1 is not finite"):
        judged([pair], by_score(lambda p, t: math.nan, "mine"))


def test_fluency_is_minus_the_perplexity(tiny: Tiny) -> None:
    model = tiny("llama")
    start = list(model.tokenizer("It eats")["input_ids"])
    new = list(model.tokenizer(" old bread", add_special_tokens=False)["input_ids"])
    log_probs = oracle.next_token_logits(model.model, start + new).log_softmax(dim=-1)
    surprise = [-float(log_probs[len(start) + i - 1, token]) for i, token in enumerate(new)]
    expected = -math.exp(sum(surprise) / len(surprise))
    assert fluency(model)("It eats", " old bread") == pytest.approx(expected, rel=1e-4)


def test_functions_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_judges.py").write_text(
        "def vowels(prompt, text): return sum(c in 'aeiou' for c in text)\n"
        "def shorter(prompt, first, second):\n"
        "    return 'first' if len(first) < len(second) else 'tie'\n"
        "def wrong(prompt, first, second): return 1\n"
        "def alone(prompt): return 1\n"
    )
    monkeypatch.chdir(tmp_path)
    pair = Pair("1", "p", "aaa", "bb", "first")
    assert by_function("my_judges:vowels")(pair) == "first"
    assert by_function("my_judges:shorter")(pair) == "tie"
    with pytest.raises(UserError, match="returned 1, not first"):
        by_function("my_judges:wrong")(pair)
    for reference in ("my_judges:alone", "my_judges:none", "no_such_module:f", "my_judges:"):
        with pytest.raises(UserError, match=f"--by {reference}"):
            by_function(reference)


def test_people(tmp_path: Path) -> None:
    pairs = [Pair("1", 'p,\n"q"', "=a", "b\nc", "second"), Pair("2", "é", "x", "y", "first")]
    file = tmp_path / "pairs.csv"
    key = write_pairs(pairs, 1.5, file)
    assert key.exists() and "second" not in file.read_text().splitlines()[1]
    rows = list(csv.DictReader(file.open(newline="")))
    assert [row["better"] for row in rows] == ["", ""]
    with pytest.raises(UserError, match="line 2: better is ''"):
        read_verdicts(file)

    def fill(*choices: str, kept: int = 2) -> None:
        with file.open("w", newline="") as opened:
            table = csv.DictWriter(opened, rows[0])
            table.writeheader()
            table.writerows(
                row | {"better": choice} for row, choice in zip(rows[:kept], choices, strict=False)
            )

    fill("Second ", "TIE")
    assert read_verdicts(file) == (pairs, ["second", "tie"], 1.5)
    fill("second", kept=1)
    with pytest.raises(UserError, match="keep every row"):
        read_verdicts(file)
    key.unlink()
    with pytest.raises(UserError, match=r"key pairs.csv.key.json cannot be read"):
        read_verdicts(file)
