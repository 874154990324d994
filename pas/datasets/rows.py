"""What the loaders of several families share.

Some upstream rows list one answer twice (24 of 1,221 in CommonsenseQA's validation split, 3 of
1,033 in five subjects of MMLU). Identical texts are one choice, so a loader keeps one of them and
the row stays; the right answer is found by its text. Nothing is dropped, and an item that had its
right answer under two letters becomes answerable.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from pas.data.sources import Row


def text(row: Row, field: str) -> str:
    """Return a field's text, stripped.

    Raises:
        KeyError: If the field is missing.
        ValueError: If it holds nothing.
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
    """`merged`, for an answer that is given by the name of a choice, such as its letter.

    Raises:
        ValueError: If no choice has that name.
    """
    if answer not in names:
        raise ValueError(f"the answer {answer!r} is none of {', '.join(names)}")
    return merged(choices, list(names).index(answer))


def binary(row: Row, field: str = "label") -> int:
    """Return a label that is 0 or 1.

    Raises:
        KeyError: If the field is missing.
        ValueError: If it is anything else.
    """
    if str(row[field]) not in ("0", "1"):
        raise ValueError(f"{field} {row[field]!r} is neither 0 nor 1")
    return int(row[field])


def key(shared: str) -> str:
    """Return 16 hex characters for a shared text, whatever its case and spacing: a group."""
    plain = " ".join(shared.casefold().split())
    return hashlib.blake2b(plain.encode(), digest_size=8).hexdigest()
