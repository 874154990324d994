"""Look at a data set before it is used: how it is read, what the model will see, what is odd."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

from pas.data.chat import Chat
from pas.data.examples import Example
from pas.data.prompts import full_prompt
from pas.data.splits import order_choices
from pas.errors import UserError
from pas.intake.cells import flat_columns
from pas.intake.items import Intake
from pas.intake.rows import readable
from pas.intake.sources import count_rows
from pas.intake.survey import Counts, counts, warnings
from pas.reading import mapped, take_in
from pas.recipe import Recipe

ModelUse = Literal["unused", "tokenizer", "checked"]


class RenderedItem(NamedTuple):
    """An item as the model will see it.

    Attributes:
        id: Of the item.
        prompt: The text of the prompt.
        choices: Letter (under letter scoring) and text, in the order shown.
        label: Index of the correct one.
    """

    id: str
    prompt: str
    choices: tuple[str, ...]
    label: int


class Look(NamedTuple):
    """A data set before it is used.

    Attributes:
        recipe: With the complete mapping and the scoring.
        taken: The items and how they were read.
        counts: In numbers.
        warnings: What may be wrong.
        columns: Each column and examples of its values.
        other_parts: The source's other splits and their numbers of rows, where they are local.
        model: What was loaded of the model.
        longest: Tokens of the longest sequence and the model's context window, if items were
            checked.
        chat: The model's chat template, if it was loaded and the prompts go through it.
    """

    recipe: Recipe
    taken: Intake
    counts: Counts
    warnings: list[str]
    columns: dict[str, list[str]]
    other_parts: dict[str, int | None]
    model: ModelUse
    longest: tuple[int, int | None] | None
    chat: Chat | None

    def rendered(self, n: int) -> list[RenderedItem]:
        """Return the first items as the model will see them, choices in the recipe's order."""
        return [self._rendered(example) for example in self.taken.examples[:n]]

    def _rendered(self, example: Example) -> RenderedItem:
        recipe, kind = self.recipe, self.recipe.scored_by
        seed = recipe.seed if recipe.order_seed is None else recipe.order_seed
        shown = order_choices(example, seed, recipe.protocol)
        texts = tuple(
            f"{letter}: {text}" if kind == "letter" else text
            for letter, text in zip(ascii_uppercase, shown.choices, strict=False)
        )
        return RenderedItem(shown.id, full_prompt(shown, kind, self.chat), texts, shown.label)

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-able, for scripts that check a file."""
        items, part = self.taken.examples, self.taken.part
        recipe, mapping = self.recipe, self.taken.mapping
        return {
            "items": len(items),
            "first": _own_order(items[0]),
            "second": _own_order(items[1]) if len(items) > 1 else None,
            "mapping": mapping.given() if mapping else None,
            "reasons": [reason._asdict() for reason in self.taken.reasons],
            "warnings": self.warnings,
            "scoring": recipe.scored_by,
            "counts": self.counts._asdict(),
            "skipped": list(self.taken.skipped),
            "read": part.facts | {"split": part.name},
            "other_splits": self.other_parts,
            "columns": self.columns,
            "longest": self.longest[0] if self.longest else None,
        }


def look(recipe: Recipe, model: ModelUse = "unused") -> Look:
    """Read a data set and describe it; nothing is written.

    Args:
        recipe: The recipe.
        model: What to load of the model: nothing; its "tokenizer", for the chat template; or that
            and have every item "checked" for whether it can be scored, and how long it is.

    Raises:
        UserError: As `pas.reading.take_in` does.
    """
    taken = take_in(recipe)
    recipe = mapped(recipe, taken)
    part, found = taken.part, warnings(taken)
    rows = count_rows(recipe.source, part.others) if part.others else {}
    longest, chat = None, None
    if model != "unused":
        from tasks import resources  # this imports torch

        chat = resources.chat(recipe)
    if model == "checked":
        longest, unscorable = _checked(recipe, taken.examples)
        found += unscorable
    columns = {
        name: list(dict.fromkeys(str(v) for v in values if v is not None))[:3]
        for name, values in flat_columns([r for r in part.rows[:50] if readable(r)]).items()
    }
    others = {name: rows.get(name) for name in part.others}
    return Look(recipe, taken, counts(taken), found, columns, others, model, longest, chat)


def _checked(
    recipe: Recipe, examples: Sequence[Example]
) -> tuple[tuple[int, int | None], list[str]]:
    """Return the longest sequence and the window, and a warning of items that cannot be scored."""
    from tasks import resources
    from tasks.extract import question

    longest, problems = 0, list[str]()
    for example in examples:
        try:
            sequences = question(recipe, example).sequences
        except UserError as error:
            problems.append(f"item {example.id!r}: {error}")
            continue
        longest = max(longest, *(len(sequence.token_ids) for sequence in sequences))
    warned = []
    if problems:
        warned = [f"{len(problems)} items cannot be scored by this model, such as {problems[0]}"]
    return (longest, resources.model_info(recipe.model).context_window), warned


def _own_order(example: Example) -> dict[str, Any]:
    return {
        "question": example.question,
        "choices": list(example.choices),
        "gold": example.choices[example.label],
    }
