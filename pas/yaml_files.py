"""Files that a user writes in YAML."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pas.characters import HALF_CHARACTERS, has_half_characters
from pas.errors import UserError


def read_yaml(path: Path, place: str) -> Any:
    """Return the content of a YAML file; what it holds runs no code.

    Args:
        path: The file.
        place: What it is, for messages.

    Raises:
        UserError: If it cannot be read, or is no YAML.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({error.strerror or error})") from error
    # A date that does not exist is a ValueError, brackets within too many others a RecursionError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid YAML ({error}). Correct the file.") from error
    for text in _texts(document):
        if has_half_characters(text):
            raise UserError(f"{place}: {text[:60]!r}: {HALF_CHARACTERS}. Correct the file.")
    return document


def _texts(document: Any) -> Iterator[str]:
    """Yield every text of a document; its parts may be there several times, or hold themselves."""
    left, seen = [document], set[int]()
    while left:
        part = left.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict | list) and id(part) not in seen:
            seen.add(id(part))
            left += [*part, *part.values()] if isinstance(part, dict) else part
