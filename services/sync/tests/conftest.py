"""What the tests of sync share: rows to write, and a store on a database of their own."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from psycopg.rows import dict_row
from still_exchange import standing_still
from written_rows import event, market, series, store

from ssmd_kalshi.budget import Budget
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy
from ssmd_simulator.server import Simulator
from ssmd_store.pages import Store
from ssmd_sync.meter import Meter
from ssmd_sync.report import Report
from ssmd_sync.run import Run
from ssmd_sync.scope import Mode, Scope
from ssmd_sync.settings import DELETABLE_SHARE

__all__ = ["event", "market", "series", "store"]

# Test directories are no packages: what tests share is found beside them.
sys.path.append(str(Path(__file__).parent))


class Exchange:
    """A simulator, as a test asks it without any code of ours: raw JSON over HTTP."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.url = simulator.base_url

    async def listed(self, path: str, key: str, **query: Any) -> dict[str, dict[str, Any]]:
        """Every row of a listing by ticker."""
        found: dict[str, dict[str, Any]] = {}
        cursor = ""
        name = {"events": "event_ticker"}.get(key, "ticker")
        async with aiohttp.ClientSession() as session:
            while True:
                params = {**query, **({"cursor": cursor} if cursor else {})}
                async with session.get(self.url + path, params=params) as reply:
                    assert reply.status == 200, await reply.text()
                    page = await reply.json()
                found |= {row[name]: row for row in page[key]}
                cursor = page.get("cursor", "")
                if not cursor:
                    return found

    def thin(self, keep: int) -> None:
        """Leave only one event in `keep`, so that a test takes a fraction of the time."""
        universe = self.simulator.universe
        for number, listed in enumerate(list(universe.event_order)):
            if number % keep:
                for each in list(listed.markets):
                    universe.remove_market(each)
                universe.event_order.remove(listed)
                del universe.events[listed.ticker]

    def market(self, status: str = "active") -> Any:
        """Some market, by the exchange's word for its status."""
        now = self.simulator.clock()
        return next(
            m
            for m in self.simulator.universe.unsettled
            if m.status(now) == status and not m.event.multivariate
        )

    async def markets(self) -> dict[str, dict[str, Any]]:
        """Every market of the live tier, multivariate ones aside, with its series."""
        events = await self.events()
        markets = await self.listed("/markets", "markets", limit=1000, mve_filter="exclude")
        for row in markets.values():
            row["series_ticker"] = events[row["event_ticker"]]["series_ticker"]
        return markets

    async def events(self) -> dict[str, dict[str, Any]]:
        return await self.listed("/events", "events", limit=200)

    async def series(self) -> dict[str, dict[str, Any]]:
        beside = {"include_volume": "true", "include_product_metadata": "true"}
        return await self.listed("/series", "series", **beside)


@pytest_asyncio.fixture
async def small_exchange() -> AsyncIterator[Exchange]:
    """The small universe, standing still but for what a test does to it; no limit of requests."""
    async with standing_still("small") as simulator:
        yield Exchange(simulator)


@pytest_asyncio.fixture
async def exchange() -> AsyncIterator[Exchange]:
    """A tenth of that."""
    async with standing_still("tiny") as simulator:
        yield Exchange(simulator)


class Sync:
    """Runs on one database against one exchange, as the service makes them."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.url = url
        self.budget = Budget(1_000_000)
        self.policy = RetryPolicy(attempts=2, base_seconds=0.01, total_seconds=60)
        self.deletable_share = DELETABLE_SHARE

    async def __call__(self, mode: Mode = Mode.FULL, **scope: Any) -> Report:
        meter = Meter(self.budget)
        async with KalshiRest(self.url, budget=meter, policy=self.policy) as rest:
            return await Run(
                job="test",
                scope=Scope(mode=mode, **scope),
                store=self.store,
                rest=rest,
                meter=meter,
                deletable_share=self.deletable_share,
            )()

    async def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        cursor = self.store.connection.cursor(row_factory=dict_row)
        return await (await cursor.execute(query, parameters)).fetchall()

    async def tuples_written(self) -> int:
        """Tuples inserted, updated and deleted in published tables, ever."""
        await self.store.connection.execute("SELECT pg_stat_force_next_flush()")
        [row] = await self.rows(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::int AS n FROM pg_stat_user_tables"
            " JOIN pg_publication_tables p ON relname = p.tablename"
            " WHERE p.pubname = 'secmaster_cdc'"
        )
        return int(row["n"])


@pytest.fixture
def sync(store: Store, exchange: Exchange) -> Sync:
    return Sync(store, exchange.url)


@pytest.fixture
def new_exchange() -> type[Exchange]:
    return Exchange


@pytest.fixture
def new_sync() -> type[Sync]:
    """For tests with more than one database or exchange."""
    return Sync
