"""The columns of a data set, and the names that columns have in public data sets."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pas.intake.candidates import candidates_as_items
from pas.intake.cells import is_conversation, is_turn
from pas.intake.choices import Choices, choices_of
from pas.intake.mapping import DataMapping
from pas.intake.rows import Row, readable

SAMPLE = 2000  # rows that columns are recognised from; labels are checked on all rows
MOST = 0.8  # share of rows that must have a shape for a column to have it
SEPARATORS = (";", "|", "\n")

QUESTION_NAMES = (
    "question", "questiontext", "questionstem", "stem", "prompt", "query", "problem", "q", "goal",
    "ctx", "instruction", "message", "statement", "scenario", "conversations", "conversation",
    "messages", "startphrase", "sentence", "text", "input", "premise", "context", "title",
)  # fmt: skip
CONTEXT_NAMES = ("passage", "context", "article", "paragraph", "story", "document", "background",
            "premise", "sentence")  # fmt: skip
# These may be a passage that the question needs, or something else.
DOUBTFUL_NAMES = (
    "text",
    "content",
    "body",
    "abstract",
    "input",
    "dialogue",
    "history",
    "story",
    "email",
)
PASSAGE = 40  # characters of such a text, on average
CHOICES_NAMES = (
    "choices", "options", "endings", "answerchoices", "candidates", "alternatives", "answers",
    "candidateanswers", "responses", "completions", "choice", "option",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "answerkey", "answeridx", "answerindex", "answerid", "correctidx",
    "correctindex", "correctoption", "correctchoice", "correctanswer", "correct", "answer", "gold",
    "goldlabel", "goldindex", "goldidx", "labelidx", "correctanswerid", "correctanswerindex",
    "answerletter", "correctletter", "target", "key", "solution", "cop", "rightanswer", "right",
    "bestanswer",
    "answermatchingbehavior",
)  # fmt: skip
CORRECT_NAMES = (
    "chosen", "preferred", "bestanswer", "correctanswer", "correct", "rightanswer", "goldanswer",
    "correcttext", "right", "gold", "answermatchingbehavior", "answer", "target", "positive",
    "good",
)  # fmt: skip
INCORRECT_NAMES = (
    "rejected", "dispreferred", "incorrect", "incorrectanswer", "incorrectanswers", "incorrecttext",
    "wrong", "wronganswer", "wronganswers", "distractor", "distractors", "negative", "negatives",
    "answernotmatchingbehavior", "bad",
)  # fmt: skip
SERIES_STEMS = {
    "", "choice", "option", "opt", "op", "answer", "ans", "a", "ending", "sol", "solution",
    "candidate", "alternative", "response", "reply", "completion", "c", "hyp", "hypothesis",
}  # fmt: skip
CANDIDATE_NAMES = (
    "candidate", "answer", "choice", "option", "ending", "response", "candidateanswer",
    "hypothesis",
)  # fmt: skip


class Reason(NamedTuple):
    """How a part of the mapping was found.

    Attributes:
        part: Name of the part, such as "label".
        found: What it is.
        why: Why.
        sure: "certain" where names and values say so, "likely" where only the values do.
    """

    part: str
    found: str
    why: str
    sure: str = "certain"


class Columns(NamedTuple):
    """Rows by which columns are recognised, and the values of their columns."""

    rows: list[Row]
    columns: dict[str, list[Any]]
    place: str

    def values(self, name: str) -> list[Any]:
        """Return a column's values that are not missing."""
        return [v for v in self.columns[name] if v is not None and v != ""]

    def is_text(self, name: str) -> bool:
        """Tell whether a column holds texts alone."""
        values = self.values(name)
        return bool(values) and all(isinstance(v, str) for v in values)

    def is_written(self, name: str) -> bool:
        """Tell whether a column holds texts, numbers, turns or conversations."""
        return all(
            isinstance(v, str | int | float) or is_turn(v) or is_conversation(v)
            for v in self.values(name)
        )

    def named(self, names: Sequence[str]) -> list[str]:
        """Return the columns that have one of the names, in the order of the names."""
        found = [
            (names.index(plain(c)), at, c) for at, c in enumerate(self.columns) if plain(c) in names
        ]
        return [column for *_, column in sorted(found)]


def readable_choices(data: Columns, mapping: DataMapping) -> Iterator[tuple[Row, Choices]]:
    """Yield the rows whose choices can be read, and the choices."""
    rows = candidates_as_items(data.rows, mapping) if mapping.candidate else data.rows
    for row in rows:
        if readable(row):
            try:
                yield row, choices_of(row, mapping)
            except (KeyError, ValueError):
                continue


def plain(name: str) -> str:
    """Return a column's name without case and punctuation; of a path the last part."""
    return re.sub(r"[\s_\-/]+", "", name.rpartition(".")[2].casefold())


def described(data: Columns) -> str:
    """Return the columns with their first values, for messages."""
    lines = [f"  {c}: {str((data.values(c) or [''])[0])[:60]!r}" for c in list(data.columns)[:20]]
    return "The columns, with their first values:\n" + "\n".join(lines)
