"""Ten multivariate markets for each other one: what grows with them, and what does not.

Bounds are ratios and counts, never wall clock.
"""

import gc
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Any

import pytest
from still_exchange import standing_still
from test_sync_multivariate import assert_multivariate_truth, assert_truth_of_the_others

from ssmd_store.pages import Store
from ssmd_sync.scope import Mode

OTHER_REQUESTS = 30
"""All that is not a page of multivariate markets that are open: a few of each other listing."""


@asynccontextmanager
async def exchange_of(size: str, make: Any) -> AsyncIterator[Any]:
    async with standing_still(size) as simulator:
        yield make(simulator)


def combinations(exchange: Any) -> int:
    return sum(market.event.multivariate for market in exchange.simulator.universe.unsettled)


async def test_ten_for_each_other_one_are_kept_and_cost_two_rows_each(
    store: Store, new_exchange: Any, new_sync: Any
) -> None:
    async with exchange_of("tiny-tenfold", new_exchange) as exchange:
        count = combinations(exchange)
        assert count == 5_000
        sync = new_sync(store, exchange.url)
        without = await sync()
        before = await sync.tuples_written()
        report = await sync(multivariate=True)
        assert report.outcome == "ok"
        # A market and its event: nothing is written twice, and no event is asked for by name.
        assert await sync.tuples_written() - before == 2 * count
        assert report.requests - without.requests <= ceil(count / 1_000) + OTHER_REQUESTS
        await assert_truth_of_the_others(sync, exchange)
        await assert_multivariate_truth(sync, exchange)
        before = await sync.tuples_written()
        for mode in (Mode.FULL, Mode.INCREMENTAL, Mode.WINDOWS):
            assert (await sync(mode, multivariate=True)).outcome == "ok"
        assert await sync.tuples_written() == before


@pytest.mark.slow
@pytest.mark.timeout(2700)
async def test_memory_does_not_grow_with_them_and_time_only_as_they_do(
    store: Store, new_exchange: Any, new_sync: Any
) -> None:
    """Of 49,500, then of a fifth of them: by Python's own count of its memory, and by processor
    time for each row."""
    async with exchange_of("small-tenfold", new_exchange) as exchange:
        sync = new_sync(store, exchange.url)
        await sync()
        universe = exchange.simulator.universe
        all_of_them = [m for m in universe.unsettled if m.event.multivariate]

        async def cost(rows: int) -> tuple[float, float]:
            """Peak of memory above what there was, and seconds a row, of a run that changes
            nothing."""
            assert (await sync(multivariate=True)).outcome == "ok"
            gc.collect()
            tracemalloc.start()
            try:
                base, _ = tracemalloc.get_traced_memory()
                began = time.process_time()
                assert (await sync(multivariate=True)).outcome == "ok"
                seconds = time.process_time() - began
                return tracemalloc.get_traced_memory()[1] - base, seconds / rows
            finally:
                tracemalloc.stop()

        many, each_of_many = await cost(len(all_of_them))
        for number, market in enumerate(all_of_them):
            if number % 5:
                universe.remove_market(market)
        # What is gone is found out, and deleted, by hand: the sweep would ask for each by name.
        kept = [m.ticker for number, m in enumerate(all_of_them) if number % 5 == 0]
        await store.connection.execute(
            "DELETE FROM markets WHERE mve_collection_ticker IS NOT NULL AND ticker <> ALL(%s)",
            [kept],
        )
        few, each_of_few = await cost(len(kept) + 5_000)
        assert many < 1.3 * few, (few, many)
        assert each_of_many < 2 * each_of_few, (each_of_few, each_of_many)
