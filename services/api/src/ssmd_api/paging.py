"""Cutting what was fetched to a page, and the cursor of the next one. Pure."""

from ssmd_api import cursors
from ssmd_api.cursors import Cursor
from ssmd_api.filters import Page
from ssmd_api.rows import Row


def cut(rows: list[Row], page: Page, ticker: str) -> tuple[list[Row], str | None]:
    """At most `page.limit` rows, and a cursor if there were more; `ticker` breaks ties."""
    if len(rows) <= page.limit:
        return rows, None
    last = rows[page.limit - 1]
    key = last[page.sort.removeprefix("-")]
    return rows[: page.limit], cursors.encode(Cursor(page.sort, key, last[ticker], page.filters))
