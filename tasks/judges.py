"""A model behind OpenAI's interface as the judge of pairs of texts."""

import json
import re
from urllib.parse import urlsplit

from pas.errors import UserError
from pas.evidence.pairs import Choice, Judge, Pair
from storage.http import fetch

_PATIENCE = 120.0  # seconds for an answer
_ASKED = """Two answers to the same prompt are given. Which one {criterion}?

Prompt:
{prompt}

Answer A:
{first}

Answer B:
{second}

Reply with one letter, A or B."""


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
        try:
            answer = fetch(
                f"{url.rstrip('/')}/chat/completions",
                _PATIENCE,
                json.dumps(body).encode(),
                headers=headers,
            )
            said = json.loads(answer.body)["choices"][0]["message"]["content"]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
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
