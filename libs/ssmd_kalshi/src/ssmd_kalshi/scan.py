"""Following the cursors of a listing, one page ahead of the consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import structlog

from ssmd_common.tasks import end
from ssmd_kalshi import metrics
from ssmd_kalshi.pages import Page, PageGuard, Suspicion
from ssmd_kalshi.wire import WireRow

R = TypeVar("R", bound=WireRow)

# Less than was asked for, and no reason to refuse it.
_SHORT = (Suspicion.SHORT, Suspicion.EMPTY)

log = structlog.get_logger(__name__)


async def scan(
    ask: Callable[[str], Awaitable[Page[R]]],
    key: Callable[[R], str],
    *,
    endpoint: str,
    limit: int,
    cursor: str = "",
) -> AsyncGenerator[Page[R], None]:
    """Every page from `cursor` on; `ask` reads the page at a cursor, `key` names a row.

    The next page is on its way while the consumer works on this one, never more than one. Closing
    the iterator cancels it. A page that cannot be right is asked for once more, then refused with
    a PageError.
    """
    guard = PageGuard(endpoint, limit)
    following = _next(ask, key, guard, endpoint, cursor)
    try:
        while True:
            page = await following
            if page.cursor:
                following = _next(ask, key, guard, endpoint, page.cursor)
            yield page
            if not page.cursor:
                return
    finally:
        await end(following)


def _next(
    ask: Callable[[str], Awaitable[Page[R]]],
    key: Callable[[R], str],
    guard: PageGuard,
    endpoint: str,
    cursor: str,
) -> asyncio.Task[Page[R]]:
    return asyncio.create_task(
        _believable(ask, key, guard, endpoint, cursor), name=f"page of {endpoint}"
    )


async def _believable(
    ask: Callable[[str], Awaitable[Page[R]]],
    key: Callable[[R], str],
    guard: PageGuard,
    endpoint: str,
    cursor: str,
) -> Page[R]:
    page = await ask(cursor)
    keys = [key(row) for row in page.items]
    first = doubt = guard.suspect(keys, page.row_count, page.cursor)
    if doubt is not None:
        metrics.SUSPECT_PAGES.labels(endpoint, doubt.value).inc()
        log.warning("page is asked for again", endpoint=endpoint, doubt=doubt.value)
        again = await ask(cursor)
        keys_again = [key(row) for row in again.items]
        doubt = guard.suspect(keys_again, again.row_count, again.cursor)
        if doubt in _SHORT:
            # The same rows twice: the listing is filtered after paging. Other rows: trust neither.
            if keys_again == keys and again.row_count == page.row_count:
                # An empty page is asked for again each time: it says less than a short one.
                if doubt is Suspicion.SHORT:
                    guard.short_is_normal()
            elif first in _SHORT:
                again = max(page, again, key=lambda one: one.row_count).marked_short()
            else:
                again = again.marked_short()
        elif doubt is not None:
            raise guard.refuse(doubt)
        page, keys = again, [key(row) for row in again.items]
    guard.accept(keys, page.cursor, page.row_count)
    return page
