"""Functions that several loaders share.

Some upstream rows list one answer twice (24 of 1,221 in CommonsenseQA's validation split, 3 of
1,033 in five subjects of MMLU). Identical texts are one choice: the loader keeps the first, and
identifies the correct answer by its text. No row is dropped, and an item whose correct answer had
two letters becomes answerable.
"""

from collections.abc import Sequence
from typing import Any

from pas.intake.rows import Row


def text(row: Row, field: str) -> str:
    """Return a field's text, stripped.

    Raises:
        KeyError: If the field is missing.
        ValueError: If the field holds None.
    """
    value = row[field]
    if value is None:
        raise ValueError(f"the field {field!r} is empty")
    return str(value).strip()


def merged(choices: Sequence[Any], label: int) -> tuple[tuple[str, ...], int]:
    """Return the distinct choices in order, and the index among them of `choices[label]`.

    Raises:
        ValueError: If the label is out of range.
    """
    texts = ["" if choice is None else str(choice).strip() for choice in choices]
    if not 0 <= label < len(texts):
        raise ValueError(f"label {label} is out of range for {len(texts)} choices")
    distinct = tuple(dict.fromkeys(texts))
    return distinct, distinct.index(texts[label])


def lettered(
    choices: Sequence[Any], names: Sequence[str], answer: Any
) -> tuple[tuple[str, ...], int]:
    """Return the distinct choices and the answer's index, for an answer given by name.

    Args:
        choices: The choices' texts.
        names: The choices' names, such as their letters.
        answer: Name of the correct choice.

    Returns:
        As `merged` does.

    Raises:
        ValueError: If no choice has that name.
    """
    if answer not in names:
        raise ValueError(f"the answer {answer!r} is not one of {', '.join(names)}")
    return merged(choices, list(names).index(answer))


def binary(row: Row, field: str = "label") -> int:
    """Return a label that is 0 or 1.

    Raises:
        KeyError: If the field is missing.
        ValueError: If the label has another value.
    """
    if str(row[field]) not in ("0", "1"):
        raise ValueError(f"{field} {row[field]!r} is not 0 or 1")
    return int(row[field])
