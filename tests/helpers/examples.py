"""Small examples, for tests that need no text of their own."""

from pas.data.examples import Example
from tests.helpers.tiny_models import toy_questions


def item(number: int = 0, **changes: object) -> Example:
    """An example of three choices in a group of its own; `changes` replace its fields."""
    fields: dict[str, object] = {
        "id": f"i{number}",
        "question": f"Q{number}?",
        "choices": ("yes", "no", "maybe"),
        "label": number % 3,
        "group": f"i{number}",
        "stratum": str(number % 2),
    }
    return Example(**(fields | changes))  # type: ignore[arg-type]


def toy_examples(n: int, seed: int = 0) -> list[Example]:
    """The toy questions as examples."""
    return [Example(group=row["id"], **row) for row in toy_questions(n, seed)]
