"""Pages of a list: what is asked for, and the cursor of the next one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ssmd_api import cursors, rows
from ssmd_api.cursors import Cursor, Keys
from ssmd_api.rows import Row

Counted = Literal["exact", "estimated"]
"""How the rows of a whole list are counted."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: its order (`name` ascends, `-name` descends; several with commas
    between), its start, its length; and whether to count what the whole list has."""

    sort: str
    limit: int
    cursor: Cursor | None = None
    filters: str = ""
    """The digest of the list's filters, for its next cursor."""
    counted: Counted | None = None


@dataclass(frozen=True, slots=True)
class SortKey:
    """A column that a list is sorted by, NULLs last either way."""

    name: str
    descends: bool


def sort_keys(sort: str, ticker: str) -> tuple[list[SortKey], SortKey]:
    """The columns before the ticker, and the ticker, which tells equals apart: in the direction of
    the first unless it is named."""
    keys = [SortKey(each.removeprefix("-"), each.startswith("-")) for each in sort.split(",")]
    if keys[-1].name == ticker:
        return keys[:-1], keys[-1]
    return keys, SortKey(ticker, keys[0].descends)


def order(sort: str) -> str:
    """What a cursor names as the order of its list: that of equals, too, which used to ascend."""
    return f"{sort},-ticker" if sort.startswith("-") else sort


@dataclass(frozen=True, slots=True)
class Listed:
    """A page's rows, the JSON of each; `ages` is what their age needs, of rows that differ in
    it."""

    rows: Sequence[bytes]
    cursor: str | None
    """Of the next page, if there is one."""
    ages: Sequence[Row] = ()
    count: int | None = None
    """Of the whole list's rows, if that is asked for."""

    def values(self) -> list[Row]:
        """The rows for who does not send them on."""
        found: list[Row] = rows.decode(b"[%b]" % b",".join(self.rows), rows.ROW_DEPTH)
        return found


def following(page: Page, keys: Keys, ticker: str) -> str:
    """The cursor of the page after this one, whose last row has these sort keys and ticker."""
    key = keys[0] if len(keys) == 1 else keys
    return cursors.encode(Cursor(order(page.sort), key, ticker, page.filters))


def id_of(cursor: Cursor | None) -> int | None:
    """Of a list in the order of ids: the last id of the page before, None at its beginning."""
    return cursor.key if cursor and isinstance(cursor.key, int) else None


def cut_by_id(name: str, found: list[Row], limit: int) -> dict[str, Any]:
    """The page of such a list, `name`, of up to one row more than it holds; with the next one's
    cursor."""
    more = len(found) > limit
    found = found[:limit]
    following = cursors.encode(Cursor(name, found[-1]["id"], "")) if more else None
    return {name: found, "cursor": following}
