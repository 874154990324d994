"""The fenced blocks of a page of the docs, and the commands in them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.helpers.places import ROOT

SHOWN = ("", "text", "mermaid", "json")  # output and pictures
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    source = (ROOT / page).read_text()
    for fence in _FENCE.finditer(source):
        line = source.count("\n", 0, fence.start()) + 1
        yield Block(page, line, fence[1], fence[2])


def commands(text: str) -> list[str]:
    """The commands of a block: lines joined at backslashes, comments and prompts left out."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line]
