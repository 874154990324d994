"""Read the choices of a row from the shapes in which data sets hold them."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple

from pas.intake.cells import conversation_text, is_conversation, question_of, text_of, value_at
from pas.intake.mapping import DataMapping
from pas.intake.rows import Row

# Words that mark an absent choice. "None" and "NA" are not among them: they may be answers.
FILLERS = {"n/a", "#n/a", "nan", "null", "<na>", "-", "--"}
_TEXTS = ("text", "value", "content", "choice", "option", "label_text", "answer")
_NAMES = ("label", "key", "letter", "id", "name", "index")
_MARK = re.compile(r"(?:^|(?<=[\s,;|]))\(?([A-Za-z])\s?[).:]\s*(?=\S)")
# In a question only marks at the start of a line, or else in parentheses, are taken for choices.
_QUESTION_MARKS = (
    re.compile(r"(?m)(?:^[ \t]*\(?([A-Za-z1-9])[).:][ \t]*)(?=\S)"),
    re.compile(r"(?<=\s)\(([A-Z])\)[ \t]*(?=\S)"),
)
_ORDERS = (ascii_uppercase, "123456789")
_HEADING = re.compile(r"(?i)\n?\s*(answer )?(choices|options)\s*:?\s*$")
_LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_TURN_END = re.compile(
    r"(?:Assistant|ASSISTANT|AI|Answer|### Response|### Assistant)\s*:|\[/INST\]|<\|assistant\|>"
)


class Choices(NamedTuple):
    """The choices of a row.

    Attributes:
        question: The item's question.
        texts: In the data set's own order.
        names: The data set's own names of the choices, such as letters; empty if it has none.
    """

    question: str
    texts: tuple[str, ...]
    names: tuple[str, ...] = ()


def choices_of(row: Row, mapping: DataMapping) -> Choices:
    """Return the question and the choices of a row.

    Args:
        row: The row.
        mapping: Where they are; one of its fields for choices is given.

    Raises:
        KeyError: If the row lacks a column.
        ValueError: If a value cannot be read.
    """
    if mapping.correct is not None:
        return _against(row, mapping)
    question = question_of(row, mapping.question) if mapping.question else ""
    if mapping.choices_in_question:
        return lettered_question(question)
    if mapping.fixed_choices:
        return Choices(question, mapping.fixed_choices)
    if mapping.candidate is not None:  # `pas.intake.candidates` has joined rows
        return Choices(question, tuple(map(text_of, value_at(row, mapping.candidate))))
    if len(mapping.choices) > 1:
        cells = [value_at(row, name) for name in mapping.choices]
        texts = tuple(map(text_of, _without_end(cells)))
        names = tuple(name.rpartition(".")[2] for name in mapping.choices)
        if all(name.isdigit() for name in names):  # numbers of columns, not names of choices
            names = ()
    else:
        texts, names = texts_and_names(value_at(row, mapping.choices[0]), mapping.separator)
    if mapping.strip_letters:
        texts = tuple(map(without_letter, texts))
    return Choices(question, texts, names[: len(texts)])


def texts_and_names(cell: Any, separator: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the choices that one cell holds, and their names if it gives them.

    A cell may hold a list of texts, a list of objects, an object from letter to text, an object of
    two lists (texts and names), or one string with any of them.

    Raises:
        ValueError: If it holds none of these.
    """
    if isinstance(cell, str):
        cell = _from_text(cell, separator)
    if isinstance(cell, Mapping):
        held = next(
            (k for k in (*_TEXTS, "choices", "texts") if isinstance(cell.get(k), list)), None
        )
        if held is not None:
            names = next((cell[k] for k in _NAMES if isinstance(cell.get(k), list)), ())
            return tuple(map(text_of, cell[held])), tuple(map(str, names))
        kept = [(str(k), v) for k, v in cell.items()]
        while kept and _absent(kept[-1][1]):
            kept.pop()
        return tuple(text_of(v) for _, v in kept), tuple(k for k, _ in kept)
    if not isinstance(cell, Sequence) or isinstance(cell, str):
        raise ValueError(f"{str(cell)[:60]!r} is not a list of choices")
    cells = _without_end(cell)
    if cells and all(isinstance(c, list) and len(c) == 2 and len(str(c[0])) == 1 for c in cells):
        return tuple(text_of(c[1]) for c in cells), tuple(str(c[0]) for c in cells)
    if cells and all(isinstance(c, Mapping) for c in cells):
        text = next((k for k in _TEXTS if all(k in c for c in cells)), None)
        name = next((k for k in _NAMES if k != text and all(k in c for c in cells)), None)
        if text is None:
            raise ValueError(
                f"the choices have the fields {', '.join(cells[0])}, none of them text"
            )
        names = tuple(str(c[name]) for c in cells) if name else ()
        return tuple(text_of(c[text]) for c in cells), names
    return tuple(map(text_of, cells)), ()


def _absent(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell) or cell == ""


def _filler(cell: Any) -> bool:
    return isinstance(cell, str) and cell.strip().casefold() in FILLERS


def _without_end(cells: Sequence[Any]) -> list[Any]:
    """Drop absent choices at the end; dropping an inner gap would shift the labels."""
    kept = list(cells)
    while kept and (_absent(kept[-1]) or (len(kept) > 2 and _filler(kept[-1]))):
        kept.pop()
    return kept


def _from_text(text: str, separator: str | None) -> Any:
    """Return what a string holds: a list written in JSON or Python, or choices with separators."""
    if separator is not None:
        return [part.strip() for part in text.split(separator) if part.strip()]
    stripped = text.strip()
    if stripped[:1] in ("[", "{"):
        parsed = _literal(stripped)
        if parsed is not None:
            return parsed
    texts = lettered(stripped)
    if texts:
        return texts
    raise ValueError(
        f"{text[:60]!r} is not a list of choices; if a character separates them, give it"
    )


def _literal(text: str) -> Any:
    """Return a list or object written in JSON or Python; None if it is neither.

    pandas writes NumPy arrays without commas, which Python would read as one text.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    plain = re.sub(r"array\((\[.*?\])(?:,\s*dtype=\w+)?\)", r"\1", text, flags=re.DOTALL)
    try:
        parsed = ast.literal_eval(plain)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(parsed, list):
        literals = [ast.literal_eval(t) for t in _LITERAL.findall(plain)]
        return literals if literals and len(literals) > len(parsed) else parsed
    if isinstance(parsed, Mapping) and any(isinstance(v, list) for v in parsed.values()):
        return parsed
    return parsed if isinstance(parsed, Mapping | tuple) else None


def lettered(text: str) -> list[str]:
    """Return the choices of a string such as "a ) red , b ) blue"; [] if it is none."""
    spans = _sequence(text, _MARK)
    if len(spans) < 2 or text[: spans[0][0]].strip(" ([,;|"):
        return []
    ends = [start for start, _ in spans[1:]] + [len(text)]
    return [text[at:end].strip(" \n\t,;|") for (_, at), end in zip(spans, ends, strict=True)]


def _sequence(text: str, mark: re.Pattern[str]) -> list[tuple[int, int]]:
    """Return start and end of the marks A, B, C, ... in order, from the last A that has a B.

    Marks may also be 1, 2, 3, ...
    """
    best: list[tuple[int, int]] = []
    marks = [(m[1].upper(), m.start(), m.end()) for m in mark.finditer(text)]
    for first, (letter, *_) in enumerate(marks):
        order = next((names for names in _ORDERS if letter == names[0]), None)
        if order is None:
            continue
        run: list[tuple[int, int]] = []
        for name, start, end in marks[first:]:
            if len(run) < len(order) and name == order[len(run)]:
                run.append((start, end))
        if len(run) >= 2:
            best = run
    return best


def lettered_question(question: str) -> Choices:
    """Split a question that ends in lettered (or numbered) choices.

    Returns:
        The question without them, the choices and their letters.

    Raises:
        ValueError: If it does not end so.
    """
    spans = next(filter(None, (_sequence(question, mark) for mark in _QUESTION_MARKS)), [])
    if len(spans) < 2:
        raise ValueError("the question does not end in lettered choices such as ' (A) red'")
    head = _HEADING.sub("", question[: spans[0][0]].rstrip()).rstrip()
    ends = [start for start, _ in spans[1:]] + [len(question)]
    texts = [question[at:end].strip() for (_, at), end in zip(spans, ends, strict=True)]
    last, _, rest = texts[-1].partition("\n")
    if rest.strip() not in ("", "Answer:"):
        raise ValueError(f"there is text after the last choice: {rest.strip()[:60]!r}")
    numbered = question[slice(*spans[0])].strip(" \t(").startswith("1")
    names = _ORDERS[numbered][: len(spans)]
    return Choices(head, (*texts[:-1], last.strip()), tuple(names))


def without_letter(text: str) -> str:
    """Return a choice without the letter or number before it."""
    return re.sub(r"^\(?[A-Za-z0-9]\s?[).:]\s*(?=\S)", "", text)


def in_letters(texts: Sequence[str]) -> bool:
    """Tell whether choices begin with their own letters or numbers, in order."""
    marks = [re.match(r"\(?([A-Za-z0-9])\s?[).:]\s*(?=\S)", text) for text in texts]
    found = "".join(m[1].upper() if m else " " for m in marks)
    return len(texts) > 1 and found in (ascii_uppercase[: len(texts)], "123456789"[: len(texts)])


def _against(row: Row, mapping: DataMapping) -> Choices:
    """Return the correct text, then the incorrect ones."""
    right = value_at(row, str(mapping.correct))
    wrong = [value_at(row, name) for name in mapping.incorrect]
    if mapping.question is None:
        return _preference(right, wrong)
    question = question_of(row, mapping.question)
    cells: list[Any] = []
    for cell in wrong:
        listed = isinstance(cell, list) and not is_conversation(cell)
        if listed or (isinstance(cell, str) and cell.strip()[:1] == "[" and _literal(cell.strip())):
            cells += texts_and_names(cell, None)[0]
        elif isinstance(cell, str) and mapping.separator:
            cells += _from_text(cell, mapping.separator)
        else:
            cells.append(cell)
    first = right[0] if isinstance(right, list) and len(right) == 1 else right
    texts = (reply_of(first), *(reply_of(cell) for cell in _without_end(cells)))
    return Choices(question, texts)


def reply_of(cell: Any) -> str:
    """Return a cell's text; of a conversation its last turn."""
    return text_of(cell[-1] if is_conversation(cell) else cell)


def _preference(right: Any, wrong: Sequence[Any]) -> Choices:
    """Return what two texts or conversations begin with, and how each goes on.

    Raises:
        ValueError: If they do not begin alike.
    """
    both = [right, *wrong]
    if all(map(is_conversation, both)):
        shared = 0
        while all(len(c) > shared + 1 and c[shared] == right[shared] for c in both):
            shared += 1
        if not shared:
            raise ValueError("the two conversations do not begin alike; give a question column")
        rest = tuple(conversation_text(c[shared:]) for c in both)
        return Choices(conversation_text(right[:shared]), rest)
    texts = [text_of(cell) for cell in both]
    alike = 0
    while all(len(t) > alike and t[alike] == texts[0][alike] for t in texts):
        alike += 1
    # The beginning is cut at the last turn: the two replies may begin with the same words.
    ends = [m.end() for m in _TURN_END.finditer(texts[0][:alike])]
    cut = ends[-1] if ends else texts[0][:alike].rfind("\n\n")
    if cut <= 0:
        raise ValueError("the two texts do not begin with the same turn; give a question column")
    return Choices(texts[0][:cut].strip(), tuple(t[cut:].strip() for t in texts))
