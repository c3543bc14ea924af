"""One page of a listing as the exchange sends it, and the checks that a scan over pages makes.

Pure: no request is made here. A listing is only as good as its completeness, because a row that a
scan missed may be taken for deleted; so a scan that loops or repeats itself ends in a `PageError`,
and a page that is shorter than asked for says so (`short`). A page without rows is followed as any
short one is while its cursor is new: a listing that is filtered after paging has such pages.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Generic, TypeVar, assert_never

import msgspec

from ssmd_common.models import RejectedRow
from ssmd_kalshi.errors import CursorLoopError, EmptyPageError, PageError, RepeatedPageError

T = TypeVar("T")

MAX_EMPTY_PAGES = 50
"""In a row, in the middle of a scan."""


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """`items` in the exchange's order; `cursor` is "" on the last page.

    `short` is true when a page that is not the last one held fewer rows than were asked for, and
    other rows when it was asked for again: do not take absence from such a scan for deletion.
    """

    items: list[T]
    rejected_rows: list[RejectedRow]
    cursor: str = ""
    short: bool = False

    @property
    def row_count(self) -> int:
        """Rows the exchange sent, readable or not."""
        return len(self.items) + len(self.rejected_rows)

    def marked_short(self) -> Page[T]:
        return msgspec.structs.replace(self, short=True)

    @property
    def complete(self) -> bool:
        """Whether every row that the exchange meant to send can be in `items`."""
        return not self.short and not self.rejected_rows


class Suspicion(enum.Enum):
    """Why a page should be asked for once more before it is believed."""

    CURSOR_LOOP = "cursor_loop"
    REPEATED = "repeated_page"
    EMPTY = "empty_page"
    SHORT = "short_page"


class PageGuard:
    """Remembers one scan. `suspect` looks at a page, `accept` adds it to what was seen."""

    __slots__ = ("_cursors", "_empty", "_endpoint", "_limit", "_pages", "_short_is_normal")

    def __init__(self, endpoint: str, limit: int) -> None:
        self._endpoint = endpoint
        self._limit = limit
        self._cursors: set[str] = set()
        self._pages: set[int] = set()
        self._short_is_normal = False
        self._empty = 0

    def suspect(self, keys: Sequence[str], row_count: int, cursor: str) -> Suspicion | None:
        """The first doubt about a page, or None. The last page may hold any number of rows."""
        if cursor and cursor in self._cursors:
            return Suspicion.CURSOR_LOOP
        if keys and self._digest(keys) in self._pages:
            return Suspicion.REPEATED
        if cursor and row_count == 0:
            return Suspicion.EMPTY
        if cursor and row_count < self._limit and not self._short_is_normal:
            return Suspicion.SHORT
        return None

    def short_is_normal(self) -> None:
        """A second request gave the same short page: stop doubting short pages of this listing."""
        self._short_is_normal = True

    def accept(self, keys: Sequence[str], cursor: str, row_count: int) -> None:
        """EmptyPageError for one empty page too many."""
        self._empty = 0 if row_count or not cursor else self._empty + 1
        if self._empty > MAX_EMPTY_PAGES:
            raise EmptyPageError(
                f"{self._endpoint}: {self._empty} pages in a row are empty and name a next one; "
                "the scan is not complete, start it again"
            )
        if cursor:
            self._cursors.add(cursor)
        if keys:
            self._pages.add(self._digest(keys))

    def refuse(self, suspicion: Suspicion) -> PageError:
        """The error for a doubt that a second request did not remove."""
        match suspicion:
            case Suspicion.CURSOR_LOOP:
                return CursorLoopError(
                    f"{self._endpoint}: a page leads back to a cursor already followed; "
                    "the scan is not complete, start it again"
                )
            case Suspicion.REPEATED:
                return RepeatedPageError(
                    f"{self._endpoint}: the exchange sent the same page twice; "
                    "the scan is not complete, start it again"
                )
            case Suspicion.EMPTY | Suspicion.SHORT:
                raise AssertionError("a short page is marked, not refused")
            case _:
                assert_never(suspicion)

    @staticmethod
    def _digest(keys: Sequence[str]) -> int:
        return hash(tuple(keys))
