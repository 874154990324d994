"""The grids and the choice among a sweep's cells."""

import pytest

from pas.engine.scoring import rule_of
from pas.errors import UserError
from pas.methods.grid import (
    PAPER_LAYERS,
    PAPER_STRENGTHS,
    Cell,
    Configuration,
    Layers,
    layers_of,
    read_layer,
    strengths_of,
)
from pas.methods.selection import select


def test_the_papers_grid_has_420_cells() -> None:
    assert layers_of("auto", 32) == PAPER_LAYERS == (8, 11, 13, 14, 15, 16, 17, 19, 22, 25)
    assert strengths_of("auto", "paper") == PAPER_STRENGTHS
    assert 3 * len(PAPER_LAYERS) * len(PAPER_STRENGTHS) == 420
    assert strengths_of("auto", "sound") == (0.0, *PAPER_STRENGTHS)


@pytest.mark.parametrize(
    ("asked", "depth", "expected"),
    [
        ("all", 4, (0, 1, 2, 3)),
        ((2, 0, 2), 4, (0, 2)),
        ("auto", 16, (4, 6, 7, 8, 10, 11, 12)),
        ("auto", 2, (0, 1)),
        ("auto", 1, (0,)),
    ],
)
def test_layers(asked: Layers, depth: int, expected: tuple[int, ...]) -> None:
    assert layers_of(asked, depth) == expected


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ((4,), "--layers 4: layer 4 does not exist; the model has layers 0 to 3"),
        ((2, -1), "--layers 2,-1: layer -1 does not exist"),
    ],
)
def test_layers_refused(asked: tuple[int, ...], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        layers_of(asked, 4)


def test_strengths() -> None:
    assert strengths_of((4.0, -1.0, 0.5), "paper") == (-1.0, 0.5, 4.0)
    assert strengths_of((4.0, -1.0, 0.5), "sound") == (-1.0, 0.0, 0.5, 4.0)
    assert strengths_of((0.0, 2.0, 2.0), "sound") == (0.0, 2.0)


def test_protocols_differ_in_site_and_letters() -> None:
    assert (read_layer(5, "paper"), read_layer(5, "sound"), read_layer(0, "paper")) == (4, 5, -1)
    assert rule_of("letter", "paper", True).variants == "bare"
    assert rule_of("letter", "sound", True).variants == "both"
    names = {rule_of("choice", "sound", norm).name for norm in (True, False)}
    names |= {rule_of("letter", p, True).name for p in ("paper", "sound")}
    assert names == {"choice-mean", "choice-sum", "letter-bare", "letter-both"}
    with pytest.raises(UserError, match="--scoring words: give letter or choice"):
        rule_of("words", "sound", True)


def cell(layer: int, strength: float, correct: int, norm: float = 1.0, method: str = "m") -> Cell:
    return Cell(Configuration(method, layer, strength), 10, correct, abs(strength) * norm)


@pytest.mark.parametrize(
    ("cells", "paper", "sound"),
    [
        # Accuracy decides.
        ([cell(1, 4.0, 6), cell(2, 1.0, 7), cell(3, 0.0, 5)], (2, 1.0), (2, 1.0)),
        # Equal: the paper takes the highest layer, then the lowest strength; sound not to steer.
        ([cell(1, 0.0, 7), cell(1, 4.0, 7), cell(3, 4.0, 7), cell(3, 1.0, 7)], (3, 1.0), (1, 0.0)),
        # Effect is strength times norm, in either direction.
        ([cell(1, -1.0, 7, norm=9), cell(2, 4.0, 7, norm=2)], (2, 4.0), (2, 4.0)),
        ([cell(1, 2.0, 7), cell(2, -1.0, 7)], (2, -1.0), (2, -1.0)),
        # Equal effects: sound takes the lower layer.
        ([cell(2, 0.0, 7), cell(1, 0.0, 7)], (2, 0.0), (1, 0.0)),
        # The control never wins.
        ([cell(1, 1.0, 3), cell(2, 1.0, 9, method="random")], (1, 1.0), (1, 1.0)),
    ],
)
def test_select(cells: list[Cell], paper: tuple[int, float], sound: tuple[int, float]) -> None:
    for protocol, expected in (("paper", paper), ("sound", sound)):
        for order in (cells, cells[::-1]):
            assert select(order, protocol).configuration[1:] == expected
