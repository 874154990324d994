"""What a vector was made from, as tags."""

import json
from dataclasses import replace

import pytest

from storage.registry.origin import Origin, read_origin, recipe_text
from storage.registry.versions import TAG_LIMIT

ONE = Origin("d1", 60, "m1", recipe_text({"seed": 0, "layers": "auto"}), "c1")


def test_tags_give_it_back() -> None:
    assert read_origin(ONE.tags) == ONE
    assert read_origin(ONE.tags | {"verdict": "real"}) == ONE
    unknown = replace(ONE, items=None)
    assert read_origin(unknown.tags) == unknown
    assert read_origin({"verdict": "real"}) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"data": "d2", "items": 1080}, ["data: 60 items before, 1,080 now"]),
        ({"data": "d2", "items": None}, ["data: 60 items before, unknown now"]),
        ({"model": "m2"}, ["model: fingerprint m1 before, m2 now"]),
        ({"recipe": recipe_text({"seed": 1, "shots": 2})}, ["recipe: layers, seed, shots"]),
        ({"code": "c2"}, ["code: of the method"]),
        ({"data": "d2", "code": "c2"}, ["data: 60 items before, 60 now", "code: of the method"]),
    ],
)
def test_a_change_is_said_and_changes_the_digest(
    changes: dict[str, object], said: list[str]
) -> None:
    now = replace(ONE, **changes)  # type: ignore[arg-type]
    assert now.changes_since(ONE) == said
    assert (now.digest != ONE.digest) is bool(said)


def test_the_number_of_items_alone_is_no_change() -> None:
    """It follows from the data; an older version does not know it."""
    assert replace(ONE, items=None).digest == ONE.digest


def test_long_values_fit_a_tag_and_stay_apart() -> None:
    long = {f"field_{i}": "x" * 9000 for i in range(55)}
    assert len(recipe_text(long)) < TAG_LIMIT
    assert recipe_text(long) != recipe_text(long | {"field_3": "x" * 9001})
    assert recipe_text({"b": 1, "a": (1, 2)}) == recipe_text({"a": [1, 2], "b": 1})
    assert json.loads(recipe_text({"system": None})) == {"system": None}
