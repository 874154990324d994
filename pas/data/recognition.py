"""Recognise the mapping of a data set: which columns are the question, the choices and the label.

Names of columns are compared with those that public data sets use, and every finding is checked on
the values. Where two readings are possible nothing is assumed: the message shows both and names the
option that decides.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from string import ascii_lowercase
from typing import Any, NamedTuple

from pas.data.choices import Choices, choices_of, in_letters, lettered_question, texts_and_names
from pas.data.formats import BadRow, Row, readable
from pas.data.labels import NO, YES, Labelled, correct_one, is_hidden, reading_of
from pas.data.mapping import (
    OPTION_OF,
    DataMapping,
    columns_in,
    is_conversation,
    is_turn,
    question_of,
    text_of,
    value_at,
)
from pas.errors import UserError

_SAMPLE = 2000  # rows that columns are recognised from; labels are checked on all rows
_MOST = 0.8  # share of rows that must have a shape for a column to have it
_SEPARATORS = (";", "|", "\n")

_QUESTION = (
    "question", "questiontext", "questionstem", "stem", "prompt", "query", "problem", "q", "goal",
    "ctx", "instruction", "message", "statement", "scenario", "conversations", "conversation",
    "messages", "startphrase", "sentence", "text", "input", "premise", "context", "title",
)  # fmt: skip
_CONTEXT = ("passage", "context", "article", "paragraph", "story", "document", "background",
            "premise", "sentence")  # fmt: skip
# These may be a passage that the question needs, or something else.
_DOUBTFUL = (
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
_PASSAGE = 40  # characters of such a text, on average
_CHOICES = (
    "choices", "options", "endings", "answerchoices", "candidates", "alternatives", "answers",
    "candidateanswers", "responses", "completions", "choice", "option",
)  # fmt: skip
_LABEL = (
    "label", "labels", "answerkey", "answeridx", "answerindex", "answerid", "correctidx",
    "correctindex", "correctoption", "correctchoice", "correctanswer", "correct", "answer", "gold",
    "goldlabel", "goldindex", "goldidx", "labelidx", "correctanswerid", "correctanswerindex",
    "answerletter", "correctletter", "target", "key", "solution", "cop", "rightanswer", "right",
    "bestanswer",
    "answermatchingbehavior",
)  # fmt: skip
_CORRECT = (
    "chosen", "preferred", "bestanswer", "correctanswer", "correct", "rightanswer", "goldanswer",
    "correcttext", "right", "gold", "answermatchingbehavior", "answer", "target", "positive",
    "good",
)  # fmt: skip
_INCORRECT = (
    "rejected", "dispreferred", "incorrect", "incorrectanswer", "incorrectanswers", "incorrecttext",
    "wrong", "wronganswer", "wronganswers", "distractor", "distractors", "negative", "negatives",
    "answernotmatchingbehavior", "bad",
)  # fmt: skip
_SERIES = {
    "", "choice", "option", "opt", "op", "answer", "ans", "a", "ending", "sol", "solution",
    "candidate", "alternative", "response", "reply", "completion", "c", "hyp", "hypothesis",
}  # fmt: skip
_CANDIDATE = ("candidate", "answer", "choice", "option", "ending", "response", "candidateanswer",
              "hypothesis")  # fmt: skip


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


class Recognised(NamedTuple):
    """A mapping with all that could be recognised before the labels are read.

    Attributes:
        mapping: The mapping.
        reasons: For each part that was not given, how it was found.
        preference: Whether the two choices of an item are texts, one preferred to the other.
    """

    mapping: DataMapping
    reasons: tuple[Reason, ...]
    preference: bool


class _Data(NamedTuple):
    """Rows by which columns are recognised, and the values of their columns."""

    rows: list[Row]
    columns: dict[str, list[Any]]
    place: str

    def values(self, name: str) -> list[Any]:
        """Return a column's values that are not missing."""
        return [v for v in self.columns[name] if v is not None and v != ""]

    def is_text(self, name: str) -> bool:
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
            (names.index(_plain(c)), at, c)
            for at, c in enumerate(self.columns)
            if _plain(c) in names
        ]
        return [column for *_, column in sorted(found)]


def recognise(
    rows: Sequence[Row | BadRow], columns: Mapping[str, list[Any]], given: DataMapping, place: str
) -> Recognised:
    """Complete a mapping.

    Args:
        rows: All rows.
        columns: Their columns by dotted path, one value a readable row.
        given: What the user said; it is kept.
        place: Name of the source, for error messages.

    Returns:
        The mapping; `label_kind` and `label_base` are still as given.

    Raises:
        UserError: If a part cannot be recognised, or can be in two ways.
    """
    some = [row for row in rows if readable(row)][:_SAMPLE]
    data = _Data(
        some, {c: v[:_SAMPLE] for c, v in columns.items() if any(x is not None for x in v)}, place
    )
    reasons: list[Reason] = []
    mapping = given
    steps = () if given.is_complete else (_choices, _question, _letters, _label, _group)
    for step in steps:
        mapping = step(data, mapping, reasons)
    texts = mapping.correct is not None and _pairs_of_texts(data, mapping)
    return Recognised(mapping, tuple(reasons), texts)


def _plain(name: str) -> str:
    """Return a column's name without case and punctuation; of a path the last part."""
    return re.sub(r"[\s_\-/]+", "", name.rpartition(".")[2].casefold())


# Choices


def _choices(data: _Data, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Find where the choices are."""
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


def _preferred(data: _Data, mapping: DataMapping) -> Found:
    """Find chosen and rejected texts or conversations."""
    right, wrong = data.named(("chosen", "preferred")), data.named(("rejected", "dispreferred"))
    if len(right) != 1 or len(wrong) != 1:
        return None
    reason = Reason("choices", f"{right[0]}, then {wrong[0]}", "the names say which is preferred")
    return replace(mapping, correct=right[0], incorrect=(wrong[0],)), reason


def _one_column(data: _Data, mapping: DataMapping) -> Found:
    """Find a column that is named as one of choices and holds some."""
    found = [c for c in data.named(_CHOICES) if _holds_choices(data, c)]
    if len(found) > 1 and _plain(found[0]) != _plain(found[1]):
        found = [c for c in found if _plain(c) in _CHOICES[:2]] or found
    if len(found) > 1:
        raise UserError(
            f"{data.place}: the choices may be in {found[0]!r} or in {found[1]!r}: say which with "
            f"{OPTION_OF['choices']}"
        )
    if not found:
        return None
    return replace(mapping, choices=(found[0],)), Reason(
        "choices", found[0], _shape(data, found[0])
    )


def _holds_choices(data: _Data, column: str) -> bool:
    values = data.values(column)[:200]
    return bool(values) and sum(_n_choices(v) >= 2 for v in values) >= _MOST * len(values)


def _n_choices(value: Any) -> int:
    if is_turn(value) or is_conversation(value):
        return 0
    for separator in (None, *_SEPARATORS):
        try:
            found = len(texts_and_names(value, separator)[0])
        except (ValueError, TypeError):
            continue
        if found >= 2 or not isinstance(value, str):
            return found
    return 0


def _shape(data: _Data, column: str) -> str:
    value = data.values(column)[0]
    if isinstance(value, Mapping):
        return "an object that holds the choices"
    return "a list in each row" if isinstance(value, list) else "one text that holds the choices"


def _series(data: _Data, mapping: DataMapping) -> Found:
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
        plain = _plain(stem.rpartition(".")[2])
        if plain in (*_QUESTION, *_CONTEXT, *_INCORRECT):
            continue
        ordered = _in_sequence(members)
        if len(ordered) >= 2:
            found.append((plain not in _SERIES, "." in stem, stem, ordered))
    best = sorted(found, key=lambda f: f[:2])[:2]
    if not best or (best[0][0] and len(found) > 1 and found[0][:2] == best[1][:2]):
        return None
    if len(best) > 1 and best[0][:2] == best[1][:2]:
        both = " or ".join(",".join(columns) for *_, columns in best)
        raise UserError(
            f"{data.place}: the choices may be in {both}: say which with {OPTION_OF['choices']}"
        )
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


def _pair(data: _Data, mapping: DataMapping) -> Found:
    """Find a column of correct texts and columns of incorrect ones."""
    wrong = [c for c in data.columns if _plain(re.sub(r"[\s_\-]*\d+$", "", c)) in _INCORRECT]
    right = [c for c in data.named(_CORRECT) if c not in wrong and _is_single(data, c)]
    if not wrong or not right:
        return None
    if _plain(right[0]) == "good" and data.named(_LABEL):
        return None  # the label may say which column is right, or the columns' names
    letters = [str(v).strip().strip("().") for v in data.values(right[0])]
    if all(len(v) == 1 and v.isalpha() for v in letters):
        return None
    both = {
        text_of(v) for c in (right[0], *wrong) for v in data.values(c) if not isinstance(v, list)
    }
    if len(wrong) == 1 and 2 <= len(both) <= 3 and len(data.rows) > 10 and data.is_text(wrong[0]):
        ordered = sorted(both, key=lambda t: (t.casefold() not in YES, t.casefold() in NO, t))
        reason = Reason("choices", ", ".join(ordered), f"{right[0]} and {wrong[0]} have no others")
        return replace(mapping, fixed_choices=tuple(ordered), label=right[0]), reason
    found = replace(mapping, correct=right[0], incorrect=tuple(wrong))
    return found, Reason("choices", ", ".join((right[0], *wrong)), "the names say which is correct")


def _is_single(data: _Data, column: str) -> bool:
    return all(
        not isinstance(v, Mapping | list) or is_turn(v) or is_conversation(v) or len(v) == 1
        for v in data.values(column)
    )


def _yes_no_columns(data: _Data, mapping: DataMapping) -> Found:
    """Find two columns that are named yes and no."""
    names = {_plain(c): c for c in data.columns}
    for yes, no in (("yes", "no"), ("true", "false")):
        if yes in names and no in names:
            columns = (names[yes], names[no])
            return replace(mapping, choices=columns), Reason("choices", ", ".join(columns), "names")
    return None


def _inside_question(data: _Data, mapping: DataMapping) -> Found:
    """Find lettered choices at the end of the questions."""
    for column in [mapping.question] if mapping.question else data.named(_QUESTION):
        if column not in data.columns or not data.is_text(column):
            continue
        values = data.values(column)[:200]
        if sum(_has_lettered(v) for v in values) >= _MOST * len(values):
            found = replace(mapping, question=column, choices_in_question=True)
            return found, Reason("choices", f"at the end of {column}", "lines with letters")
    return None


def _has_lettered(text: str) -> bool:
    try:
        return bool(lettered_question(text))
    except ValueError:
        return False


def _unnamed_list(data: _Data, mapping: DataMapping) -> Found:
    """Find the only column that holds lists or objects of texts."""
    used = {mapping.label, mapping.question, mapping.id, mapping.group}
    lists = [
        c
        for c in data.columns
        if c not in used
        and _plain(c) not in (*_INCORRECT, *_QUESTION)
        and not data.is_text(c)
        and _holds_choices(data, c)
    ]
    if len(lists) > 1:
        raise UserError(
            f"{data.place}: the choices may be in {lists[0]!r} or in {lists[1]!r}: say which with "
            f"{OPTION_OF['choices']}"
        )
    if not lists:
        return None
    reason = Reason("choices", lists[0], "the only column of lists", "likely")
    return replace(mapping, choices=(lists[0],)), reason


def _row_each(data: _Data, mapping: DataMapping) -> Found:
    """Find a column of candidates: rows repeat the question, and one of them is marked right."""
    for label in [mapping.label] if mapping.label else data.named(_LABEL):
        marks = {_mark(v) for v in data.columns.get(label, ())}
        if marks != {0, 1}:
            continue
        for column in data.named(_CANDIDATE):
            if column == label or not data.is_written(column):
                continue
            tried = _question(data, replace(mapping, candidate=column, label=label), [])
            items = candidates_as_items(data.rows, tried)
            good = [row for row in items if readable(row) and sum(row[label]) == 1]
            if len(items) < 0.7 * len(data.rows) and len(good) >= _MOST * len(items):
                reason = Reason("choices", column, "one row each; rows repeat the question")
                return replace(mapping, candidate=column, label=label), reason
    return None


def _mark(value: Any) -> int | None:
    """Return 1 for a value that says right, 0 for one that says wrong."""
    text = str(value).strip().casefold().removesuffix(".0")
    return 1 if text in YES else 0 if text in NO else None


def candidates_as_items(rows: Sequence[Row | BadRow], mapping: DataMapping) -> list[Row | BadRow]:
    """Join the rows of each question to one row with lists of candidates and of marks (0 or 1).

    Args:
        rows: Rows with one candidate each.
        mapping: Its question, candidate and label are given.
    """
    candidate, label = str(mapping.candidate), str(mapping.label)
    items: dict[Any, Any] = {}
    for row in rows:
        if not readable(row):
            items[len(items), "bad"] = row
            continue
        try:
            question = question_of(row, str(mapping.question))
            text, mark = text_of(value_at(row, candidate)), _mark(value_at(row, label))
        except (KeyError, ValueError) as error:
            items[len(items), "bad"] = BadRow(str(error))
            continue
        item = items.setdefault(question, {**row, candidate: [], label: []})
        item[candidate].append(text)
        item[label].append(-1 if mark is None else mark)
    return list(items.values())


def _booleans_alone(data: _Data, mapping: DataMapping) -> Found:
    """Find booleans as labels of questions without choices."""
    for column in [mapping.label] if mapping.label else data.named(_LABEL):
        values = data.values(column) if column in data.columns else []
        plain = {str(v).casefold() for v in values}
        if not plain or plain - {"true", "false", "yes", "no"} or len(plain) > 2:
            continue
        asked = data.named(_QUESTION)
        questions = [str(v).strip() for v in data.values(asked[0])] if asked else []
        asks = sum(q.endswith("?") for q in questions) * 2 >= len(questions)
        texts = ("yes", "no") if asks or plain & {"yes", "no"} else ("true", "false")
        why = f"{column} says {' or '.join(sorted(plain))}, and no column holds choices"
        found = replace(mapping, fixed_choices=texts, label=column)
        return found, Reason("choices", ", ".join(texts), why)
    return None


def _remaining(data: _Data, mapping: DataMapping) -> Found:
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
        named = [c for c in data.named(_QUESTION) if c in others]
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


def _longest(data: _Data, columns: Sequence[str]) -> str | None:
    """Return the column with the longest texts on average."""
    lengths = {c: sum(map(len, data.values(c))) / len(data.values(c)) for c in columns}
    return max(lengths, key=lengths.__getitem__) if lengths else None


def _with_separator(data: _Data, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
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
    for separator in _SEPARATORS[:2] if mapping.correct is not None else _SEPARATORS:
        share = sum(separator in v.strip() for v in values) / len(values)
        if share >= (0.3 if several else _MOST):
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
    return good >= _MOST * len(some)


# Question, own letters, label and group


def _question(data: _Data, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Find the question, and the passage that it needs."""
    if mapping.question is not None:
        return mapping
    used = {mapping.label, mapping.id, mapping.candidate, mapping.correct, *mapping.choices,
            *mapping.incorrect}  # fmt: skip
    free = [c for c in data.columns if c not in used and data.is_written(c)]
    named = [c for c in data.named(_QUESTION) if c in free and data.values(c)]
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
                f"{OPTION_OF['question']}.\n{_shown(data)}"
            )
        reasons.append(Reason("question", long[0], "the only other column of texts", "likely"))
        return replace(mapping, question=long[0])
    question = named[0]
    contexts = [
        c for c in data.named(_CONTEXT)
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


def _refuse_doubtful(data: _Data, free: Sequence[str], question: str) -> None:
    """Refuse a question that may need another column: dropping it would lose the passage."""
    for other in data.named(_DOUBTFUL):
        values = data.values(other) if other in free and other != question else []
        texts = [v for v in values if isinstance(v, str)]
        if sum(map(len, texts)) < _PASSAGE * len(data.rows) or _contains(data, question, other):
            continue
        option = OPTION_OF["question"]
        raise UserError(
            f"{data.place}: the question is in {question!r}, and may need the text in {other!r}. "
            f"Say which: {option} '{_after(other, question)}', or {option} {question} alone.\n"
            f"{_shown(data)}"
        )


def _begin_alike(data: _Data, mapping: DataMapping) -> bool:
    good = 0
    for row in data.rows[:200]:
        try:
            choices_of(row, mapping)
        except (KeyError, ValueError):
            continue
        good += 1
    return good >= _MOST * min(len(data.rows), 200)


def _contains(data: _Data, question: str, context: str) -> bool:
    pairs = list(zip(data.columns[question], data.columns[context], strict=True))[:200]
    return all(str(c or "") in str(q) for q, c in pairs)


def _letters(data: _Data, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Find out whether the choices begin with the data's own letters."""
    if mapping.strip_letters is not None:
        return mapping
    if not mapping.choices:
        return replace(mapping, strip_letters=False)
    texts = [c.texts for _, c in _readable_choices(data, mapping)]
    own = sum(map(in_letters, texts))
    strip = bool(texts) and own >= 0.9 * len(texts)
    if strip:
        reasons.append(Reason("strip letters", "yes", "the choices begin with their own letters"))
    return replace(mapping, strip_letters=strip)


def _readable_choices(data: _Data, mapping: DataMapping) -> Iterator[tuple[Row, Choices]]:
    rows = candidates_as_items(data.rows, mapping) if mapping.candidate else data.rows
    for row in rows:
        if readable(row):
            try:
                yield row, choices_of(row, mapping)
            except (KeyError, ValueError):
                continue


def _label(data: _Data, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
    """Find the column of labels."""
    if mapping.label is not None or mapping.correct is not None:
        return mapping
    pairs = list(_readable_choices(data, mapping))
    if not pairs:
        return replace(mapping, label=next(iter(data.named(_LABEL)), None))
    used = {*mapping.choices, *columns_in(mapping.question or ""), mapping.id}
    named = [c for c in data.named(_LABEL) if c not in used]
    readings = {c: _read(data, pairs, mapping, c) for c in named}
    fitting = [c for c, results in readings.items() if results is not None]
    for other in fitting[1:]:
        one, two = readings[fitting[0]], readings[other]
        if one and two and one != two:
            raise UserError(
                f"{data.place}: the label may be {fitting[0]!r} or {other!r}, and they differ. The "
                f"first row has {data.columns[fitting[0]][0]!r} and {data.columns[other][0]!r}. "
                f"Say which with {OPTION_OF['label']}."
            )
    if fitting or named:
        column = (fitting or named)[0]
        reasons.append(Reason("label", column, "its name"))
        return replace(mapping, label=column)
    others = [c for c in data.columns if c not in used]
    texts = [c for c in others if data.is_text(c) and _read(data, pairs, mapping, c)]
    if len(texts) == 1:
        reasons.append(Reason("label", texts[0], "the only column that names choices", "likely"))
        return replace(mapping, label=texts[0])
    numbers = [c for c in others if _read(data, pairs, mapping, c) is not None]
    hint = f" It may be {' or '.join(map(repr, numbers[:4]))}." if numbers else ""
    raise UserError(
        f"{data.place}: the label could not be recognised.{hint} Name its column with "
        f"{OPTION_OF['label']}, or give a file of labels with --data-labels.\n{_shown(data)}"
    )


def _read(
    data: _Data, pairs: Sequence[tuple[Row, Choices]], mapping: DataMapping, column: str
) -> list[int] | None:
    """Return the correct choices by a column; [] if it fits in several ways, None if in none."""
    if column not in data.columns:
        return None
    rows = [
        Labelled(at, value_at(row, column), choices)
        for at, (row, choices) in enumerate(pairs, start=1)
        if _has(row, column)
    ]
    if rows and is_hidden([row.label for row in rows]):
        return []
    try:
        reading = reading_of(rows, mapping, data.place)
    except UserError as error:
        return [] if "two ways" in str(error) else None
    results = []
    for row in rows:
        try:
            results.append(
                reading.read(correct_one(row.label, len(row.choices.texts)), row.choices)
            )
        except ValueError:
            results.append(-1)
    return results


def _has(row: Row, column: str) -> bool:
    try:
        value_at(row, column)
    except KeyError:
        return False
    return True


def _group(data: _Data, mapping: DataMapping, reasons: list[Reason]) -> DataMapping:
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


def _pairs_of_texts(data: _Data, mapping: DataMapping) -> bool:
    return all(len(choices.texts) == 2 for _, choices in _readable_choices(data, mapping))


# What is said when recognition stops


def _no_choices(data: _Data, mapping: DataMapping) -> UserError:
    used = {mapping.label, mapping.id, mapping.group, *columns_in(mapping.question or "")}
    labels, questions = data.named(_LABEL), data.named(_QUESTION)
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
    return UserError(f"{data.place}: the choices could not be recognised. {said}\n{_shown(data)}")


def _shown(data: _Data) -> str:
    lines = [f"  {c}: {str((data.values(c) or [''])[0])[:60]!r}" for c in list(data.columns)[:20]]
    return "The columns, with their first values:\n" + "\n".join(lines)
