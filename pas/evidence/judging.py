"""Open-ended evaluation: texts with and without a vector, compared blind.

docs/method.md, "Open-ended evaluation".
"""

import csv
import hashlib
import importlib
import inspect
import io
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import torch
from scipy.stats import binomtest

from pas.data.prompts import encode
from pas.engine.hooked import pad
from pas.errors import UserError
from pas.files import write_whole
from pas.models.loading import LoadedModel
from pas.progress import counted
from pas.steering.generate import generate_all
from pas.steering.intervention import Composition
from pas.steering.vector import SteeringVector

Choice = Literal["first", "second", "tie"]
Judge = Callable[["Pair"], Choice]
_COLUMNS = ("id", "prompt", "first", "second", "better")
_KEY = ".key.json"
_NGRAM = 4
_REFUSAL = re.compile(
    r"\b(i('m| am) (sorry|unable|not able)|i can('t|not)|i won('t| not)|as an ai)\b", re.IGNORECASE
)
_ASKED = """Two answers to the same prompt are given. Which one {criterion}?

Prompt:
{prompt}

Answer A:
{first}

Answer B:
{second}

Reply with one letter, A or B."""


class Pair(NamedTuple):
    """Two continuations of a prompt, in an order that does not tell which is which.

    Attributes:
        id: Of the pair.
        prompt: What was continued.
        first: One continuation.
        second: The other.
        steered: Which of them was steered.
    """

    id: str
    prompt: str
    first: str
    second: str
    steered: Literal["first", "second"]


class WinRate(NamedTuple):
    """How often the steered text was judged the better one.

    Attributes:
        n: Pairs.
        wins: Pairs in which the steered text was better.
        losses: Pairs in which the other one was.
        rate: Wins and half the ties, as a share of the pairs.
        low: Lower end of the 95 % interval of the rate (Wilson), where a tie is half a win.
        high: Its upper end.
        p_value: Exact sign test of wins against losses, two-sided.
    """

    n: int
    wins: int
    losses: int
    rate: float
    low: float
    high: float
    p_value: float

    @property
    def ties(self) -> int:
        """Pairs that were not decided."""
        return self.n - self.wins - self.losses


def pairs_of(
    model: LoadedModel,
    vector: SteeringVector | Composition,
    prompts: Sequence[str],
    *,
    strength: float | None = None,
    max_new_tokens: int = 100,
    seed: int = 0,
) -> list[Pair]:
    """Continue prompts with and without a vector, and order each pair by a hash.

    Args:
        model: The model.
        vector: The vector.
        prompts: Texts, rendered as those that the vector was trained on, for both continuations.
        strength: Factor on the vector, its own by default.
        max_new_tokens: Length of a continuation.
        seed: Of the order.

    Raises:
        UserError: As `pas.steering.generate.generate_all` does, or if there are no prompts.
    """
    if not prompts:
        raise UserError("there are no prompts; give at least one")
    plain, steered = (
        generate_all(model, prompts, vector, strength=factor, max_new_tokens=max_new_tokens)
        for factor in (0.0, strength)
    )
    pairs = []
    for number, (prompt, off, on) in enumerate(zip(prompts, plain, steered, strict=True)):
        digest = hashlib.blake2b(f"{seed} {number} {prompt}".encode(), digest_size=8).digest()
        if digest[0] % 2:
            pairs.append(Pair(f"{number + 1}", prompt, on, off, "first"))
        else:
            pairs.append(Pair(f"{number + 1}", prompt, off, on, "second"))
    return pairs


def judged(pairs: Sequence[Pair], judge: Judge) -> list[Choice]:
    """Ask a judge about every pair; two equal texts are a tie without asking."""
    choices: list[Choice] = []
    with counted(len(pairs), "pairs judged") as advance:
        for pair in pairs:
            choices.append("tie" if pair.first == pair.second else judge(pair))
            advance(1)
    return choices


def win_rate(pairs: Sequence[Pair], choices: Sequence[Choice]) -> WinRate:
    """Count how often the steered text was chosen.

    Args:
        pairs: At least one.
        choices: What was chosen in each.
    """
    n = len(pairs)
    wins = sum(p.steered == c for p, c in zip(pairs, choices, strict=True))
    losses = n - wins - sum(c == "tie" for c in choices)
    rate = (wins + (n - wins - losses) / 2) / n
    low, high = _wilson(rate, n)
    p_value = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return WinRate(n, wins, losses, rate, low, high, p_value)


def _wilson(rate: float, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


# Judges ------------------------------------------------------------------------------------------


def by_score(score: Callable[[str, str], float], name: str) -> Judge:
    """Return the judge that prefers the text with the higher score.

    Args:
        score: From prompt and text to a finite number.
        name: Of the score, for a message.
    """

    def judge(pair: Pair) -> Choice:
        first, second = (float(score(pair.prompt, text)) for text in (pair.first, pair.second))
        if not (math.isfinite(first) and math.isfinite(second)):
            raise UserError(f"--by {name}: the score of pair {pair.id} is not finite")
        return "tie" if first == second else "first" if first > second else "second"

    return judge


def length(_: str, text: str) -> float:
    """Return the number of words."""
    return len(text.split())


def repetition(_: str, text: str) -> float:
    """Return minus the share of runs of four words that occurred before in the text."""
    words = text.split()
    grams = [tuple(words[i : i + _NGRAM]) for i in range(len(words) - _NGRAM + 1)]
    return len({*grams}) / len(grams) - 1 if grams else 0.0


def refusal(_: str, text: str) -> float:
    """Return 1 if the text reads like a refusal, by phrases such as "I cannot"; else 0."""
    return float(bool(_REFUSAL.search(text)))


def fluency(model: LoadedModel) -> Callable[[str, str], float]:
    """Return the score minus the perplexity of a text after its prompt, under a model."""

    @torch.inference_mode()
    def score(prompt: str, text: str) -> float:
        start = encode(model.info, prompt).token_ids
        new = tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not new:
            return 0.0
        batch = pad([(*start, *new)], model)
        with model.lock:
            logits = model.model(**batch.inputs(), logits_to_keep=len(new) + 1).logits[0, :-1]
        targets = torch.tensor(new, device=logits.device)[:, None]
        mean = -float(logits.float().log_softmax(dim=-1).gather(1, targets).mean())
        return -math.exp(min(mean, 700.0))

    return score


def by_function(reference: str) -> Judge:
    """Return the judge that a Python function is: MODULE:FUNCTION.

    A function of (prompt, text) is a score, and the higher one wins. A function of (prompt, first,
    second) returns "first", "second" or "tie".

    Raises:
        UserError: If there is no such function, or it takes or returns something else.
    """
    module, _, name = reference.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module), name)
        count = len(inspect.signature(function).parameters)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"--by {reference}: no such function ({error})") from error
    if count == 2:
        return by_score(function, reference)
    if count != 3:
        raise UserError(
            f"--by {reference}: it takes {count} arguments; give (prompt, text) or (prompt, first, "
            "second)"
        )

    def judge(pair: Pair) -> Choice:
        choice = function(pair.prompt, pair.first, pair.second)
        if choice not in ("first", "second", "tie"):
            raise UserError(f"--by {reference}: it returned {choice!r}, not first, second or tie")
        return cast(Choice, choice)

    return judge


def by_endpoint(url: str, model: str, criterion: str, key: str | None = None) -> Judge:
    """Return the judge that asks a model behind OpenAI's interface, in both orders.

    A model that chooses by the place of an answer contradicts itself, which is a tie.

    Args:
        url: Of the interface, such as `http://127.0.0.1:8000/v1`.
        model: Its name there.
        criterion: Completes "Which one ...?", such as "is more cheerful".
        key: API key.

    Raises:
        UserError: If the address is no URL; the judge raises it if nobody answers.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"--by {url}: give the address of an OpenAI-compatible interface")
    local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    opener = build_opener(*([ProxyHandler({})] if local else []))

    def ask(prompt: str, first: str, second: str) -> str:
        text = _ASKED.format(criterion=criterion, prompt=prompt, first=first, second=second)
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 5,
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        request = Request(  # noqa: S310
            url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), headers
        )
        try:
            with opener.open(request, timeout=120) as answer:
                said = json.loads(answer.read())["choices"][0]["message"]["content"]
        except (URLError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(f"--by: the judge does not answer ({error})") from error
        letter = re.search(r"\b([AB])\b", str(said))
        return letter[1] if letter else ""

    def judge(pair: Pair) -> Choice:
        one = ask(pair.prompt, pair.first, pair.second)
        other = ask(pair.prompt, pair.second, pair.first)
        if (one, other) == ("A", "B"):
            return "first"
        return "second" if (one, other) == ("B", "A") else "tie"

    return judge


# People ------------------------------------------------------------------------------------------


def write_pairs(pairs: Sequence[Pair], file: Path) -> Path:
    """Write pairs for people as CSV, and which text was steered into a file beside it.

    Args:
        pairs: The pairs.
        file: CSV to write; the column `better` is empty, for "first", "second" or "tie".

    Returns:
        The file that holds the key.

    Raises:
        UserError: If it cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    table.writerows((p.id, p.prompt, p.first, p.second, "") for p in pairs)
    key = file.with_name(file.name + _KEY)
    try:
        write_whole(key, (json.dumps({p.id: p.steered for p in pairs}) + "\n").encode())
        write_whole(file, text.getvalue().encode())
    except OSError as error:
        raise UserError(f"--csv {file}: cannot be written ({error.strerror})") from error
    return key


def read_verdicts(file: Path) -> tuple[list[Pair], list[Choice]]:
    """Read what people chose.

    Raises:
        UserError: If the file or its key cannot be read, or a pair has no verdict or another word;
            names the row.
    """
    try:
        key: dict[str, Any] = json.loads(file.with_name(file.name + _KEY).read_bytes())
        rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"), newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"--verdicts {file}: it or its key {file.name}{_KEY} cannot be read ({error})"
        ) from error
    pairs, choices = [], list[Choice]()
    for number, row in enumerate(rows, 2):
        choice = (row.get("better") or "").strip().lower()
        if choice not in ("first", "second", "tie"):
            raise UserError(
                f"--verdicts {file}, line {number}: better is {choice!r}; write first, second or "
                "tie"
            )
        if row.get("id") not in key:
            raise UserError(
                f"--verdicts {file}, line {number}: the key has no pair {row.get('id')}"
            )
        pairs.append(Pair(row["id"], row["prompt"], row["first"], row["second"], key[row["id"]]))
        choices.append(cast(Choice, choice))
    if len({p.id for p in pairs}) != len(key):
        raise UserError(
            f"--verdicts {file}: it has {len(pairs)} of {len(key)} pairs; keep every row"
        )
    return pairs, choices
