"""Pages of a list: what is asked for, and the cursor of the next one."""

from dataclasses import dataclass

from ssmd_api import cursors
from ssmd_api.cursors import Cursor, Key
from ssmd_api.rows import Row


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: its order (`name` ascends, `-name` descends), its start, its length."""

    sort: str
    limit: int
    cursor: Cursor | None = None
    filters: str = ""
    """The digest of the list's filters, for its next cursor."""


def order(sort: str) -> str:
    """What a cursor names as the order of its list: that of equals, too, which used to ascend."""
    return f"{sort},-ticker" if sort.startswith("-") else sort


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a list as it is sent, and what places it there; `beside` is what its age needs."""

    text: bytes
    key: Key
    ticker: str
    beside: Row


def cut(rows: list[Listed], page: Page) -> tuple[list[Listed], str | None]:
    """At most `page.limit` rows, and a cursor if there were more."""
    if len(rows) <= page.limit:
        return rows, None
    last = rows[page.limit - 1]
    return rows[: page.limit], cursors.encode(
        Cursor(order(page.sort), last.key, last.ticker, page.filters)
    )
