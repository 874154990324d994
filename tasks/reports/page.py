"""What the pages have in common: how a template is found, and how values are written in it."""

from collections.abc import Mapping
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.reports import words
from tasks.reports.figures import PALETTE


class Badge(NamedTuple):
    """A verdict as it is shown, and in how many of how many seeds it was given."""

    label: str
    mark: str
    given: int
    of: int


def badges(verdicts: Mapping[str, int]) -> list[Badge]:
    """Return a badge for each label, from the number of seeds that have it."""
    seeds = sum(verdicts.values())
    return [
        Badge(label, words.VERDICTS.get(label, words.UNKNOWN_VERDICT)[0], count, seeds)
        for label, count in verdicts.items()
    ]


def environment() -> Environment:
    """Return the templates' environment: everything is escaped, nothing may be undefined."""
    found = Environment(
        loader=PackageLoader("tasks.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "plain": words.plain,
        "signed": words.signed,
        "p": words.p_value,
        "duration": words.duration,
        "badges": badges,
    }
    found.globals |= {
        "between": words.between,
        "zip": zip,
        "plural": words.plural,
        "has_test": words.has_test,
        "palette": PALETTE,
    }
    return found
