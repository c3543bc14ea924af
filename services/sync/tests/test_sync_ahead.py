"""Reading ahead is bounded by rows: pages are of any size, and memory is what they cost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ssmd_kalshi.pages import Page
from ssmd_kalshi.wire import WireEvent
from ssmd_sync.fetch import AHEAD_ROWS, reading
from ssmd_sync.plan import EventScan

EVENT = WireEvent(event_ticker="KXA-1", series_ticker="KXA")


@pytest.mark.parametrize("page_rows", [100, 2_000, 3 * AHEAD_ROWS])
async def test_no_more_rows_wait_than_may_and_all_arrive(
    page_rows: int,
) -> None:
    pages, made = 3 * AHEAD_ROWS // page_rows + 3, 0

    class Exchange:
        async def events(self, **_: Any) -> AsyncIterator[Page[WireEvent]]:
            nonlocal made
            for _ in range(pages):
                made += page_rows
                yield Page(items=[EVENT] * page_rows, rejected_rows=[])

    taken = 0
    async with reading(Exchange(), [EventScan()]) as ahead:  # type: ignore[arg-type]
        async for rows in ahead:
            taken += rows.count
            for _ in range(5):
                await asyncio.sleep(0)
            # One page beyond, which is at hand before its size is known.
            assert made - taken < AHEAD_ROWS + page_rows
    assert taken == made == pages * page_rows
