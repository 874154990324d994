"""What a sweep remembers: the damage of a configuration is measured once."""

from collections.abc import Sequence

import numpy as np
import pytest

from pas.data.splits import Split
from pas.engine.scoring import ScoringRule
from pas.evidence import damage
from pas.evidence.testing import test as evaluate
from pas.methods.extraction import answer_and_extract, estimate
from pas.methods.sweep import select, sweep
from tests.helpers.examples import item


def test_selection_and_test_measure_a_configuration_once(
    tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rule = tiny("llama"), ScoringRule("choice")
    items = tuple(item(number) for number in range(12))
    split = Split(items[:6], items[6:9], items[9:])
    directions = estimate(answer_and_extract(model, split.train, ["caa"], [1, 2], rule))
    swept = sweep(model, split.val, directions, [0.5, 1.0], rule)
    real, measured = damage.damage, list[int]()

    def counting(model: object, texts: Sequence[str], rows: Sequence[object], *more, **named):
        measured.append(len(rows))
        return real(model, texts, rows, *more, **named)

    monkeypatch.setattr(damage, "damage", counting)
    selection = select(model, swept, max_kl=np.inf)
    at = selection.selected.configuration
    assert swept.damage.keys() == {at}
    assert measured == [1]
    evaluation = evaluate(model, split, swept, selection)
    assert measured == [1], "the test takes what the selection measured"
    assert evaluation.damage == swept.damage[at] and evaluation.damage.kl > 0
    # A stricter limit asks for others, and not for this one again.
    select(model, swept, max_kl=np.nextafter(swept.damage[at].kl, 0))
    assert sum(measured) == len(swept.damage) > 1
