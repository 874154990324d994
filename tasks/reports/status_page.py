"""The page of `pas status`: one self-contained HTML file."""

from tasks import status as words
from tasks.reports.page import render
from tasks.status import Status


def status_page(status: Status) -> str:
    """Return the page as HTML."""
    return render(
        "status.html.j2",
        status=status,
        parts=[
            ("Work pools", words.POOL_HEADER, words.rows_of_pools(status)),
            ("Schedules", words.SCHEDULE_HEADER, words.rows_of_schedules(status)),
        ],
        age=words.age,
        lake=words.lake_in_words(status),
        server=words.server_in_words(status),
    )
