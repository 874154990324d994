"""The page of `pas data`: how a data set is read, and items for a colleague to check."""

from collections.abc import Sequence

from tasks.look import Look, RenderedItem
from tasks.reports.page import render


def data_page(look: Look, items: Sequence[RenderedItem], command: str) -> str:
    """Return a self-contained HTML page.

    Args:
        look: The data set.
        items: The items to show.
        command: What trains on the data.
    """
    return render("data.html.j2", look=look, taken=look.taken, items=items, command=command)
