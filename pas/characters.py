"""Texts that are no Unicode: half of a pair that makes one character."""

import re

HALF_CHARACTERS = "the text has half a character, such as \\ud83d without its other half"
_HALF = re.compile("[\ud800-\udfff]")


def has_half_characters(text: str) -> bool:
    """Whether a text has surrogates, of which two make a character: no encoding writes one."""
    return not text.isascii() and _HALF.search(text) is not None
