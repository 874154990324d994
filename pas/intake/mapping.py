"""The mapping: which parts of a row are the question, the choices and the correct choice.

docs/data.md shows a mapping for each shape of data.
"""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

LabelKind = Literal["index", "letter", "text", "boolean"]


def _field(option: str, description: str, default: Any = None) -> Any:
    return field(default=default, metadata={"option": option, "description": description})


@dataclass(frozen=True)
class DataMapping:
    """How a row becomes an item. What is not given is recognised from the rows.

    A column is named by its name or by a dotted path into nested fields. The description of each
    field is in its metadata.
    """

    question: str | None = _field(
        "question_col",
        "Column of the question, or a template such as '{passage}\\n{question}'.",
    )
    choices: tuple[str, ...] = _field(
        "choices_col", "One column that holds all choices, or one column for each choice.", ()
    )
    fixed_choices: tuple[str, ...] = _field(
        "fixed_choices", "The choices, if all items have the same and no column holds them.", ()
    )
    correct: str | None = _field(
        "correct_col",
        "Column of the correct (or preferred) text. Without a question column, what it and the "
        "incorrect text begin with is the question.",
    )
    incorrect: tuple[str, ...] = _field(
        "incorrect_col", "Columns of the incorrect (or rejected) texts, or one that lists them.", ()
    )
    candidate: str | None = _field(
        "candidate_col",
        "Column of the choice, where each choice has a row of its own: rows with the same question "
        "are one item.",
    )
    choices_in_question: bool = _field(
        "choices_in_question", "The question's text ends in lettered choices.", False
    )
    separator: str | None = _field(
        "choices_separator", "What separates the choices (or incorrect texts) of one cell: ; or |."
    )
    strip_letters: bool | None = _field(
        "strip_letters", "Whether choices such as '(A) red' lose the data's own letters (yes, no)."
    )
    label: str | None = _field("label_col", "Column of the correct choice.")
    label_kind: LabelKind | None = _field(
        "label_kind", "What a label is: an index, a letter (or name), the choice's text, a boolean."
    )
    label_base: Literal[0, 1] | None = _field(
        "label_base", "Whether labels that are indices count from 0 or from 1."
    )
    label_values: tuple[str, ...] = _field(
        "label_values", "What each label means, such as true=yes,false=no.", ()
    )
    group: str | None = _field(
        "group_col", "Column whose equal values stay in one of the three splits together."
    )
    id: str | None = _field("id_col", "Column of unique ids; the row number by default.")

    # Read by pydantic, which would otherwise ignore a misspelt field of a recipe.
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    @property
    def is_complete(self) -> bool:
        """Whether it says all that a row needs, so that nothing is recognised."""
        labelled = self.label_kind is not None or bool(self.label_values)
        return self.strip_letters is not None and (self.correct is not None or labelled)

    def given(self) -> dict[str, Any]:
        """Return the fields that differ from the defaults, as they stand in a mapping file."""
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, default) in values.items()
            if value != default
        }


OPTION_OF = {f.name: "--" + f.metadata["option"].replace("_", "-") for f in fields(DataMapping)}
