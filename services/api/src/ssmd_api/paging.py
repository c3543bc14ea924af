"""Pages of a list: what is asked for, and the cursor of the next one."""

from collections.abc import Sequence
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
    """A page's rows as they are sent, with commas between; `ages` is what their age needs, of rows
    that differ in it."""

    rows: bytes
    cursor: str | None
    """Of the next page, if there is one."""
    ages: Sequence[Row] = ()


def following(page: Page, key: Key, ticker: str) -> str:
    """The cursor of the page after this one, whose last row has this sort key and ticker."""
    return cursors.encode(Cursor(order(page.sort), key, ticker, page.filters))
