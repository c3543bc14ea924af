"""Pages of a list: what is asked for, and the cursor of the next one."""

from dataclasses import dataclass

from ssmd_api import cursors
from ssmd_api.cursors import Cursor
from ssmd_api.rows import Row


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: its order (`name` ascends, `-name` descends), its start, its length."""

    sort: str
    limit: int
    cursor: Cursor | None = None
    filters: str = ""
    """The digest of the list's filters, for its next cursor."""


def cut(rows: list[Row], page: Page, ticker: str) -> tuple[list[Row], str | None]:
    """At most `page.limit` rows, and a cursor if there were more; `ticker` breaks ties."""
    if len(rows) <= page.limit:
        return rows, None
    last = rows[page.limit - 1]
    key = last[page.sort.removeprefix("-")]
    return rows[: page.limit], cursors.encode(Cursor(page.sort, key, last[ticker], page.filters))
