"""Reading ahead is bounded by rows: pages are of any size, and memory is what they cost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ssmd_common.models import Series
from ssmd_sync import fetch
from ssmd_sync.fetch import AHEAD_ROWS, Rows, reading
from ssmd_sync.plan import SeriesScan

ROW = Series(ticker="KXA")


@pytest.mark.parametrize("page_rows", [100, 2_000, 3 * AHEAD_ROWS])
async def test_no_more_rows_wait_than_may_and_all_arrive(
    monkeypatch: pytest.MonkeyPatch, page_rows: int
) -> None:
    pages, made = 3 * AHEAD_ROWS // page_rows + 3, 0

    async def scan(rest: Any, step: Any) -> AsyncIterator[Rows]:
        nonlocal made
        for _ in range(pages):
            made += page_rows
            yield Rows(datetime.now(UTC), series=[ROW] * page_rows)

    monkeypatch.setattr(fetch, "_rows", scan)
    taken = 0
    async with reading(None, [SeriesScan()]) as ahead:  # type: ignore[arg-type]
        async for rows in ahead:
            taken += rows.count
            for _ in range(5):
                await asyncio.sleep(0)
            # One page beyond, which is at hand before its size is known.
            assert made - taken < AHEAD_ROWS + page_rows
    assert taken == made == pages * page_rows
