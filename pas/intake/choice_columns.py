"""Find where the choices are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from string import ascii_lowercase
from typing import Any

from pas.errors import UserError
from pas.intake.candidates import candidates_as_items, mark
from pas.intake.cells import columns_in, is_conversation, is_turn, text_of
from pas.intake.choices import lettered_question, texts_and_names
from pas.intake.columns import (
    CANDIDATE_NAMES,
    CHOICES_NAMES,
    CONTEXT_NAMES,
    CORRECT_NAMES,
    INCORRECT_NAMES,
    LABEL_NAMES,
    MOST,
    QUESTION_NAMES,
    SEPARATORS,
    SERIES_STEMS,
    Columns,
    Reason,
    described,
    plain,
)
from pas.intake.labels import NO, YES
from pas.intake.mapping import OPTION_OF, DataMapping
from pas.intake.question_columns import find_question
from pas.intake.rows import readable


def find_choices(data: Columns, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Find where the choices are.

    Args:
        data: The columns.
        mapping: What is known.
        reasons: Gets how the choices were found.

    Raises:
        UserError: If they cannot be recognised, or may be in two places.
    """
    if mapping.incorrect and mapping.correct is None:
        raise UserError(f"{data.place}: {OPTION_OF['incorrect']} needs {OPTION_OF['correct']} too")
    if mapping.correct is not None and not mapping.incorrect:
        raise UserError(f"{data.place}: {OPTION_OF['correct']} needs {OPTION_OF['incorrect']} too")
    given = (mapping.choices, mapping.fixed_choices, mapping.correct, mapping.candidate)
    if not any(given) and not mapping.choices_in_question:
        for find in (
            _preferred, _one_column, _series, _pair, _yes_no_columns, _inside_question,
            _unnamed_list, _row_each, _booleans_alone, _remaining,
        ):  # fmt: skip
            found = find(data, mapping)
            if found is not None:
                before, (mapping, reason) = mapping, found
                reasons.append(reason)
                if mapping.label is not None and before.label is None:
                    reasons.append(Reason("label", mapping.label, "it goes with these choices"))
                break
        else:
            raise _no_choices(data, mapping)
    return _with_separator(data, mapping, reasons)


Found = tuple[DataMapping, Reason] | None


def _preferred(data: Columns, mapping: DataMapping) -> Found:
    """Find chosen and rejected texts or conversations."""
    right, wrong = data.named(("chosen", "preferred")), data.named(("rejected", "dispreferred"))
    if len(right) != 1 or len(wrong) != 1:
        return None
    reason = Reason("choices", f"{right[0]}, then {wrong[0]}", "the names say which is preferred")
    return replace(mapping, correct=right[0], incorrect=(wrong[0],)), reason


def _one_column(data: Columns, mapping: DataMapping) -> Found:
    """Find a column that is named as one of choices and holds some."""
    found = [c for c in data.named(CHOICES_NAMES) if _holds_choices(data, c)]
    if len(found) > 1 and plain(found[0]) != plain(found[1]):
        found = [c for c in found if plain(c) in CHOICES_NAMES[:2]] or found
    if len(found) > 1:
        raise _several(data, found)
    if not found:
        return None
    return replace(mapping, choices=(found[0],)), Reason(
        "choices", found[0], _shape(data, found[0])
    )


def _several(data: Columns, places: Sequence[str]) -> UserError:
    return UserError(
        f"{data.place}: the choices may be in {places[0]!r} or in {places[1]!r}: say which with "
        f"{OPTION_OF['choices']}"
    )


def _holds_choices(data: Columns, column: str) -> bool:
    values = data.values(column)[:200]
    return bool(values) and sum(_n_choices(v) >= 2 for v in values) >= MOST * len(values)


def _n_choices(value: Any) -> int:
    if is_turn(value) or is_conversation(value):
        return 0
    for separator in (None, *SEPARATORS):
        try:
            found = len(texts_and_names(value, separator)[0])
        except (ValueError, TypeError):
            continue
        if found >= 2 or not isinstance(value, str):
            return found
    return 0


def _shape(data: Columns, column: str) -> str:
    value = data.values(column)[0]
    if isinstance(value, Mapping):
        return "an object that holds the choices"
    return "a list in each row" if isinstance(value, list) else "one text that holds the choices"


def _series(data: Columns, mapping: DataMapping) -> Found:
    """Find columns that are numbered or lettered in order, such as A, B, C or option1, option2."""
    label = {*columns_in(mapping.label or ""), *columns_in(mapping.question or "")}
    groups: dict[str, dict[str, str]] = {}
    for column in data.columns:
        if column in label or column.isdigit() or not data.is_written(column):
            continue
        match = re.fullmatch(r"(.*?)[\s_\-.]*([A-Za-z]|\d{1,2})", column)
        if match:
            groups.setdefault(match[1].casefold(), {})[match[2].casefold()] = column
    found = []
    for stem, members in groups.items():
        name = plain(stem.rpartition(".")[2])
        if name in (*QUESTION_NAMES, *CONTEXT_NAMES, *INCORRECT_NAMES):
            continue
        ordered = _in_sequence(members)
        if len(ordered) >= 2:
            found.append((name not in SERIES_STEMS, "." in stem, stem, ordered))
    best = sorted(found, key=lambda f: f[:2])[:2]
    alike = len(best) > 1 and best[0][:2] == best[1][:2]
    if not best or (alike and best[0][0]):
        return None  # several series without a name of choices are no sign of any
    if alike:
        raise _several(data, [",".join(columns) for *_, columns in best])
    unnamed, _, _, columns = best[0]
    sure = "likely" if unnamed else "certain"
    reason = Reason("choices", ", ".join(columns), "one column for each, in order", sure)
    return replace(mapping, choices=tuple(columns)), reason


def _in_sequence(members: Mapping[str, str]) -> list[str]:
    """Return the columns with tails a, b, c, ... or 0, 1, ... or 1, 2, ..., as far as they go."""
    for tails in (ascii_lowercase, [*map(str, range(26))], [*map(str, range(1, 27))]):
        ordered = []
        for tail in tails:
            if tail not in members:
                break
            ordered.append(members[tail])
        if len(ordered) >= 2:
            return ordered
    return []


def _pair(data: Columns, mapping: DataMapping) -> Found:
    """Find a column of correct texts and columns of incorrect ones."""
    wrong = [c for c in data.columns if plain(re.sub(r"[\s_\-]*\d+$", "", c)) in INCORRECT_NAMES]
    right = [c for c in data.named(CORRECT_NAMES) if c not in wrong and _is_single(data, c)]
    if not wrong or not right:
        return None
    if plain(right[0]) == "good" and data.named(LABEL_NAMES):
        return None  # the label may say which column is right, or the columns' names
    letters = [str(v).strip().strip("().") for v in data.values(right[0])]
    if all(len(v) == 1 and v.isalpha() for v in letters):
        return None
    both = {
        text_of(v) for c in (right[0], *wrong) for v in data.values(c) if not isinstance(v, list)
    }
    if len(wrong) == 1 and len(both) == 2 and len(data.rows) > 10 and data.is_text(wrong[0]):
        ordered = sorted(both, key=lambda t: (t.casefold() not in YES, t.casefold() in NO, t))
        reason = Reason("choices", ", ".join(ordered), f"{right[0]} and {wrong[0]} have no others")
        return replace(mapping, fixed_choices=tuple(ordered), label=right[0]), reason
    found = replace(mapping, correct=right[0], incorrect=tuple(wrong))
    return found, Reason("choices", ", ".join((right[0], *wrong)), "the names say which is correct")


def _is_single(data: Columns, column: str) -> bool:
    return all(
        not isinstance(v, Mapping | list) or is_turn(v) or is_conversation(v) or len(v) == 1
        for v in data.values(column)
    )


def _yes_no_columns(data: Columns, mapping: DataMapping) -> Found:
    """Find two columns that are named yes and no."""
    names = {plain(c): c for c in data.columns}
    for yes, no in (("yes", "no"), ("true", "false")):
        if yes in names and no in names:
            columns = (names[yes], names[no])
            return replace(mapping, choices=columns), Reason("choices", ", ".join(columns), "names")
    return None


def _inside_question(data: Columns, mapping: DataMapping) -> Found:
    """Find lettered choices at the end of the questions."""
    for column in [mapping.question] if mapping.question else data.named(QUESTION_NAMES):
        if column not in data.columns or not data.is_text(column):
            continue
        values = data.values(column)[:200]
        if sum(_has_lettered(v) for v in values) >= MOST * len(values):
            found = replace(mapping, question=column, choices_in_question=True)
            return found, Reason("choices", f"at the end of {column}", "lines with letters")
    return None


def _has_lettered(text: str) -> bool:
    try:
        return bool(lettered_question(text))
    except ValueError:
        return False


def _unnamed_list(data: Columns, mapping: DataMapping) -> Found:
    """Find the only column that holds lists or objects of texts."""
    used = {mapping.label, mapping.question, mapping.id, mapping.group}
    lists = [
        c
        for c in data.columns
        if c not in used
        and plain(c) not in (*INCORRECT_NAMES, *QUESTION_NAMES)
        and not data.is_text(c)
        and _holds_choices(data, c)
    ]
    if len(lists) > 1:
        raise _several(data, lists)
    if not lists:
        return None
    reason = Reason("choices", lists[0], "the only column of lists", "likely")
    return replace(mapping, choices=(lists[0],)), reason


def _row_each(data: Columns, mapping: DataMapping) -> Found:
    """Find a column of candidates: rows repeat the question, and one of them is marked right."""
    for label in [mapping.label] if mapping.label else data.named(LABEL_NAMES):
        marks = {mark(v) for v in data.columns.get(label, ())}
        if marks != {0, 1}:
            continue
        for column in data.named(CANDIDATE_NAMES):
            if column == label or not data.is_written(column):
                continue
            tried = find_question(data, replace(mapping, candidate=column, label=label), [])
            items = candidates_as_items(data.rows, tried)
            good = [row for row in items if readable(row) and sum(row[label]) == 1]
            if len(items) < 0.7 * len(data.rows) and len(good) >= MOST * len(items):
                reason = Reason("choices", column, "one row each; rows repeat the question")
                return replace(mapping, candidate=column, label=label), reason
    return None


def _booleans_alone(data: Columns, mapping: DataMapping) -> Found:
    """Find booleans as labels of questions without choices."""
    for column in [mapping.label] if mapping.label else data.named(LABEL_NAMES):
        values = data.values(column) if column in data.columns else []
        said = {str(v).casefold() for v in values}
        if not said or said - {"true", "false", "yes", "no"} or len(said) > 2:
            continue
        asked = data.named(QUESTION_NAMES)
        questions = [str(v).strip() for v in data.values(asked[0])] if asked else []
        asks = sum(q.endswith("?") for q in questions) * 2 >= len(questions)
        texts = ("yes", "no") if asks or said & {"yes", "no"} else ("true", "false")
        why = f"{column} says {' or '.join(sorted(said))}, and no column holds choices"
        found = replace(mapping, fixed_choices=texts, label=column)
        return found, Reason("choices", ", ".join(texts), why)
    return None


def _remaining(data: Columns, mapping: DataMapping) -> Found:
    """Take all other columns of text for the choices, if the labels fit them and no fewer."""
    labels = [mapping.label] if mapping.label else list(data.columns)
    found: list[tuple[DataMapping, Reason]] = []
    for label in labels:
        letters = (
            {str(v).strip("(). ").upper() for v in data.values(label)}
            if label in data.columns
            else set()
        )
        others = [c for c in data.columns if c != label and data.is_text(c)]
        named = [c for c in data.named(QUESTION_NAMES) if c in others]
        asked = mapping.question or (named[0] if named else _longest(data, others))
        others = [c for c in others if c not in columns_in(asked or "")]
        top = max((ord(v) - 64 for v in letters if len(v) == 1 and v.isalpha()), default=0)
        if not letters or any(len(v) != 1 or not v.isalpha() for v in letters):
            continue
        if top == len(others) >= 2 and len(letters) > 1:
            reason = Reason(
                "choices", ", ".join(others), "all other texts, as many as letters", "likely"
            )
            found.append(
                (replace(mapping, choices=tuple(others), label=label, question=asked), reason)
            )
    return found[0] if len(found) == 1 else None


def _longest(data: Columns, columns: Sequence[str]) -> str | None:
    """Return the column with the longest texts on average."""
    lengths = {c: sum(map(len, data.values(c))) / len(data.values(c)) for c in columns}
    return max(lengths, key=lengths.__getitem__) if lengths else None


def _with_separator(data: Columns, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Find what separates the choices of one cell."""
    if mapping.separator is not None:
        return mapping
    columns = mapping.incorrect if mapping.correct is not None else mapping.choices
    if len(columns) != 1 or columns[0] not in data.columns or not data.is_text(columns[0]):
        return mapping
    values = data.values(columns[0])
    if mapping.correct is None and _readable_alone(values):
        return mapping
    if all(v.lstrip()[:1] == "[" for v in values):
        return mapping
    several = columns[0].casefold().endswith("s") or mapping.correct is None
    # A text of several lines is one text; choices without letters may have a line each.
    for separator in SEPARATORS[:2] if mapping.correct is not None else SEPARATORS:
        share = sum(separator in v.strip() for v in values) / len(values)
        if share >= (0.3 if several else MOST):
            why = f"in {share:.0%} of the cells of {columns[0]}"
            reasons.append(Reason("separator", repr(separator), why))
            return replace(mapping, separator=separator)
        if several and share > 0.02:
            raise UserError(
                f"{data.place}: {separator!r} is in {share:.0%} of the cells of {columns[0]!r}. If "
                f"it separates texts say so with {OPTION_OF['separator']} '{separator}'; if not, "
                f"give a separator that does not occur"
            )
    return mapping


def _readable_alone(values: Iterable[str]) -> bool:
    some = list(values)[:200]
    good = 0
    for value in some:
        try:
            good += len(texts_and_names(value, None)[0]) >= 2
        except ValueError:
            continue
    return good >= MOST * len(some)


def _no_choices(data: Columns, mapping: DataMapping) -> UserError:
    used = {mapping.label, mapping.id, mapping.group, *columns_in(mapping.question or "")}
    labels, questions = data.named(LABEL_NAMES), data.named(QUESTION_NAMES)
    texts = [
        c for c in data.columns if data.is_text(c) and c not in {*used, *labels[:1], *questions[:1]}
    ]
    hints = []
    if len(texts) >= 2:
        hints.append(f"If each choice has a column: {OPTION_OF['choices']} {','.join(texts)}.")
        if len(texts) == 2:
            right, wrong = OPTION_OF["correct"], OPTION_OF["incorrect"]
            hints.append(f"If one of them is always right: {right} {texts[0]} {wrong} {texts[1]}.")
    few = [c for c in texts if len({*data.values(c)}) <= 5 < len(data.rows)]
    for column in (labels or few)[:1]:
        distinct = sorted({str(v) for v in data.values(column) if not isinstance(v, list)})
        if 2 <= len(distinct) <= 26:
            fixed = OPTION_OF["fixed_choices"]
            hints.append(
                f"If all items have the same choices, and {column!r} says which: {fixed} "
                f"{','.join(distinct)}"
                + (" with the words for these numbers." if distinct[0].isdigit() else ".")
            )
    said = " ".join(hints) or f"Name their columns with {OPTION_OF['choices']}."
    return UserError(
        f"{data.place}: the choices could not be recognised. {said}\n{described(data)}"
    )
