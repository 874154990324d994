"""Find the question, the passage that it needs, and the groups that passages make."""

from collections.abc import Sequence
from dataclasses import replace

from pas.errors import UserError
from pas.intake.cells import columns_in
from pas.intake.choices import choices_of
from pas.intake.columns import (
    CONTEXT_NAMES,
    DOUBTFUL_NAMES,
    MOST,
    PASSAGE,
    QUESTION_NAMES,
    Columns,
    Reason,
    described,
)
from pas.intake.mapping import OPTION_OF, DataMapping


def find_question(data: Columns, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Find the question, and the passage that it needs.

    Args:
        data: The columns.
        mapping: What is known.
        reasons: Gets how the question was found.

    Raises:
        UserError: If it cannot be recognised, or may need a column that is no clear passage.
    """
    if mapping.question is not None:
        return mapping
    used = {mapping.label, mapping.id, mapping.candidate, mapping.correct, *mapping.choices,
            *mapping.incorrect}  # fmt: skip
    free = [c for c in data.columns if c not in used and data.is_written(c)]
    named = [c for c in data.named(QUESTION_NAMES) if c in free and data.values(c)]
    if not named and mapping.correct is not None and _begin_alike(data, mapping):
        both = f"{mapping.correct} and {mapping.incorrect[0]}"
        reasons.append(Reason("question", "their common beginning", f"{both} begin alike"))
        return mapping
    if not named:
        texts = [c for c in free if data.is_text(c)]
        long = [c for c in texts if len({*data.values(c)}) > 0.5 * len(data.values(c))]
        if len(long) != 1:
            raise UserError(
                f"{data.place}: the question could not be recognised. Name its column with "
                f"{OPTION_OF['question']}.\n{described(data)}"
            )
        reasons.append(Reason("question", long[0], "the only other column of texts", "likely"))
        return replace(mapping, question=long[0])
    question = named[0]
    contexts = [
        c for c in data.named(CONTEXT_NAMES)
        if c in free and c != question and data.is_text(c) and not _contains(data, question, c)
    ]  # fmt: skip
    if not contexts:
        _refuse_doubtful(data, free, question)
        reasons.append(Reason("question", question, "its name"))
        return replace(mapping, question=question)
    template = _after(contexts[0], question)
    why = f"{contexts[0]} is what the question is about, and comes first"
    reasons.append(Reason("question", template, why))
    return replace(mapping, question=template)


def _after(context: str, question: str) -> str:
    """Return the template of a passage and the question below it."""
    return f"{{{context}}}\\n{{{question}}}"


def _refuse_doubtful(data: Columns, free: Sequence[str], question: str) -> None:
    """Refuse a question that may need another column: dropping it would lose the passage."""
    for other in data.named(DOUBTFUL_NAMES):
        values = data.values(other) if other in free and other != question else []
        texts = [v for v in values if isinstance(v, str)]
        if sum(map(len, texts)) < PASSAGE * len(data.rows) or _contains(data, question, other):
            continue
        option = OPTION_OF["question"]
        raise UserError(
            f"{data.place}: the question is in {question!r}, and may need the text in {other!r}. "
            f"Say which: {option} '{_after(other, question)}', or {option} {question} alone.\n"
            f"{described(data)}"
        )


def _begin_alike(data: Columns, mapping: DataMapping) -> bool:
    good = 0
    for row in data.rows[:200]:
        try:
            choices_of(row, mapping)
        except (KeyError, ValueError):
            continue
        good += 1
    return good >= MOST * min(len(data.rows), 200)


def _contains(data: Columns, question: str, context: str) -> bool:
    pairs = list(zip(data.columns[question], data.columns[context], strict=True))[:200]
    return all(str(c or "") in str(q) for q, c in pairs)


def find_group(data: Columns, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Group items by a passage that several questions share: both sides of a split must differ."""
    if mapping.group is not None or mapping.question is None:
        return mapping
    used = columns_in(mapping.question)
    if len(used) < 2 or used[0] not in data.columns or mapping.candidate is not None:
        return mapping
    values = [str(v) for v in data.values(used[0])]
    if len({*values}) > 0.95 * len(values):
        return mapping
    why = f"{len({*values})} different ones for {len(values)} questions"
    reasons.append(Reason("group", used[0], why))
    return replace(mapping, group=used[0])
