"""One corruption in a random real-shaped universe: everything else arrives exactly.

By REST into PostgreSQL, through sync and through what lifecycle repairs with. The reading of
replies alone is in libs/ssmd_kalshi, corrupted WebSocket frames are with lifecycle.
"""

import os
import random
from collections.abc import AsyncIterator, Container, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from corruption import FAULTS, Corruption, fields, random_one
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from pydantic import SecretStr

from ssmd_kalshi.budget import Budget
from ssmd_kalshi.rest import KalshiRest
from ssmd_lifecycle.repair.rest_upserter import RestUpserter
from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_store.pages import Store
from ssmd_store.sessions import Sessions
from ssmd_sync.meter import Meter
from ssmd_sync.report import Report
from ssmd_sync.run import Run
from ssmd_sync.scope import Mode, Scope

SEED = int(os.environ.get("SSMD_CORRUPTION_SEED", "1"))
KEEP = 40
"""One event in so many stays in the universe, so that a run takes a fraction of a second."""
CORRUPTIONS = 4
"""For each kind of row."""
TABLES = {"series": "ticker", "events": "event_ticker", "markets": "ticker"}
OF = {"market": "markets", "event": "events", "series": "series"}
WAYS = ("sync", "repair")
OURS = ("created_at", "updated_at", "observed_at")

Rows = dict[str, dict[str, dict[str, Any]]]


@pytest_asyncio.fixture
async def exchange() -> AsyncIterator[Simulator]:
    async with Simulator("small", seed=SEED, tempo=None, budget=0, creation_lag=0) as simulator:
        universe = simulator.universe
        for number, event in enumerate(list(universe.event_order)):
            if number % KEEP:
                for market in list(event.markets):
                    universe.remove_market(market)
                universe.event_order.remove(event)
                del universe.events[event.ticker]
        yield simulator


@dataclass
class Tables:
    """What is stored, and two ways for it to come there."""

    database: Database
    connection: AsyncConnection[Any]
    exchange: Simulator
    store: Store

    async def attempted(self) -> Report:
        meter = Meter(Budget(1_000_000))
        async with KalshiRest(self.exchange.base_url, budget=meter) as rest:
            scope = Scope(mode=Mode.FULL)
            run = Run(job="t", scope=scope, store=self.store, rest=rest, meter=meter)
            return await run()

    async def synced(self) -> Report:
        report = await self.attempted()
        assert report.outcome == "ok", report.sentence
        return report

    async def repaired(self) -> None:
        """As lifecycle does after a gap: markets, and the parents that are missing."""
        async with (
            Sessions(SecretStr(self.database.url), "t", size=1, budget_seconds=30) as sessions,
            KalshiRest(self.exchange.base_url, budget=Budget(1_000_000)) as rest,
        ):
            upserter = RestUpserter(sessions, rest)
            asked_at = datetime.now(UTC)
            async for page in rest.markets():
                assert page.complete
                await upserter.upsert_markets(page.items, asked_at)

    async def filled(self, way: str) -> None:
        await (self.synced() if way == "sync" else self.repaired())

    async def rows(self) -> Rows:
        found: Rows = {}
        for table, key in TABLES.items():
            cursor = self.connection.cursor(row_factory=dict_row)
            await cursor.execute(f"SELECT * FROM {table}".encode())
            found[table] = {
                row[key]: {name: value for name, value in row.items() if name not in OURS}
                for row in await cursor.fetchall()
            }
        return found

    async def versions(self) -> set[tuple[Any, ...]]:
        """Every row's version: what is written anew has another."""
        found = set()
        for table, key in TABLES.items():
            query = f"SELECT '{table}', {key}, xmin::text, ctid::text FROM {table}"
            found |= set(await (await self.connection.execute(query.encode())).fetchall())
        return found

    async def empty(self) -> None:
        await self.connection.execute(
            "TRUNCATE series, events, markets, series_fees, sync_watermarks CASCADE"
        )

    def spoil(self, one: Corruption) -> None:
        self.exchange.faults.clear()
        self.exchange.faults.start(Fault(**one.fault()))


@pytest_asyncio.fixture
async def tables(database: Database, exchange: Simulator) -> AsyncIterator[Tables]:
    async with database.connect() as connection, database.connect() as other:
        yield Tables(database, connection, exchange, await Store.on(other))


def some(rows: Rows, without: Container[str] = ()) -> Iterable[Corruption]:
    chance = random.Random(SEED)
    for entity, table in OF.items():
        tickers, found = sorted(rows[table]), 0
        while found < CORRUPTIONS:
            one = random_one(chance, entity, chance.choice(tickers))
            if fields(entity)[one.field] not in without:
                found += 1
                yield one


def event_of(rows: Rows, one: Corruption) -> dict[str, Any]:
    """The event that a corrupted event or market is or belongs to."""
    market = rows["markets"].get(one.ticker)
    return rows["events"][market["event_ticker"] if market else one.ticker]


def compare(found: Rows, expected: Rows, one: Corruption, columns: Iterable[str]) -> None:
    """All is as expected, but that the corrupted row has nothing in `columns`, and tells of it."""
    for table, rows in expected.items():
        assert found[table].keys() == rows.keys(), one
        for ticker, row in rows.items():
            if (table, ticker) != (OF[one.entity], one.ticker):
                assert found[table][ticker] == row, one
    bad = dict(found[OF[one.entity]][one.ticker])
    good = {**expected[OF[one.entity]][one.ticker], **dict.fromkeys(columns)}
    extra = dict(bad["extra"])
    assert extra.pop(one.field) is not None, one
    bad["extra"] = extra
    good["extra"] = {k: v for k, v in (good["extra"] or {}).items() if k != one.field}
    assert bad == good, one


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_stored_stays(tables: Tables, way: str) -> None:
    await tables.filled(way)
    before = await tables.rows()
    assert len(before["markets"]) > 50
    for one in some(before):
        if way == "repair" and one.entity != "market":
            # It reads no parents that it has.
            continue
        tables.spoil(one)
        if way == "sync":
            report = await tables.synced()
            told = {(ticker, field) for _, ticker, field in report.rejected}
            if not told:
                # Settled long ago: a second run does not read it again.
                assert event_of(before, one)["status"] == "settled", one
                assert await tables.rows() == before
                continue
            assert told == {(one.ticker, one.field)}, one
        else:
            await tables.repaired()
        compare(await tables.rows(), before, one, ())
        versions = await tables.versions()
        await tables.filled(way)
        assert await tables.versions() == versions, f"the same again writes nothing: {one}"
    tables.exchange.faults.clear()
    await tables.filled(way)
    assert await tables.rows() == before


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_new_has_nothing_there(tables: Tables, way: str) -> None:
    """A status decides its event's too, and without a parent there is no row: see below."""
    await tables.filled(way)
    before = await tables.rows()
    for one in some(before, without=("status", "parent")):
        await tables.empty()
        tables.spoil(one)
        await tables.filled(way)
        compare(await tables.rows(), before, one, one.columns)


@pytest.mark.parametrize("way", WAYS)
async def test_a_new_row_without_a_readable_parent_costs_what_is_below_it(
    tables: Tables, way: str
) -> None:
    await tables.filled(way)
    before = await tables.rows()
    chance = random.Random(SEED)
    for entity, field in (("market", "event_ticker"), ("event", "series_ticker")):
        await tables.empty()
        ticker = chance.choice(sorted(before[OF[entity]]))
        tables.spoil(Corruption(entity, ticker, field, chance.choice(FAULTS["parent"])))
        await (tables.attempted() if way == "sync" else tables.repaired())
        found = await tables.rows()
        for table, rows in before.items():
            for name, row in rows.items():
                below = ticker in (row.get("ticker"), row.get("event_ticker"))
                if not below:
                    assert found[table][name] == row
