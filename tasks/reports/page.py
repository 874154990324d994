"""What the pages have in common: where they are, and how templates are found and filled."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from storage.settings import settings
from tasks.reports import words
from tasks.reports.figures import PALETTE


def report_file(run_id: str) -> Path:
    """Return the path of a run's report on this machine."""
    return settings().root / "runs" / f"{run_id}.html"


def render(template: str, **values: object) -> str:
    """Return the page: everything is escaped, nothing may be undefined."""
    environment = Environment(
        loader=PackageLoader("tasks.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": words.plain,
        "signed": words.signed,
        "p": words.p_value,
        "duration": words.duration,
        "mark": words.mark,
        "meaning": words.meaning,
    }
    environment.globals |= {
        "between": words.between,
        "zip": zip,
        "plural": words.plural,
        "palette": PALETTE,
    }
    return environment.get_template(template).render(values)
