"""The published tables have one writer: sync and lifecycle make the same rows of the same page."""

import random
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from observations import Pair, T, market_pairs, store_parents, store_them
from pydantic import SecretStr

from ssmd_kalshi.pages import Page
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.wire import WireEvent, WireMarket
from ssmd_lifecycle.repair.rest_upserter import RestUpserter
from ssmd_stack.database import Database
from ssmd_store.pages import Store
from ssmd_store.sessions import Sessions
from ssmd_sync.fetch import event_rows, market_rows

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ("series", "events", "markets", "series_fees", "fees", "market_lifecycle_events")
WRITES = re.compile(
    r"\b(?:INSERT INTO|UPDATE|DELETE FROM|MERGE INTO|COPY|TRUNCATE)\s+(?:ONLY\s+)?"
    rf"({'|'.join(PUBLISHED)}|\{{table\}})(?!\w)"
)
Rows = dict[str, dict[str, Any]]


def product_sources() -> Iterator[Path]:
    for place in ("libs/*/src", "services/*/src", "cli/src"):
        for directory in ROOT.glob(place):
            yield from (path for path in directory.rglob("*") if path.suffix in (".py", ".sql"))


def test_only_ssmd_store_writes_published_tables() -> None:
    writers: dict[str, set[str]] = {}
    for path in product_sources():
        for table in WRITES.findall(path.read_text("utf-8")):
            writers.setdefault(path.relative_to(ROOT).parts[1], set()).add(table)
    assert writers.keys() == {"ssmd_store"}, writers
    assert writers["ssmd_store"] >= {"series", "series_fees", "market_lifecycle_events", "{table}"}


def wire(pair: Pair) -> WireMarket:
    """What the exchange sends of a market; one in so many has a field that cannot be read."""
    page = pair.page

    def text(name: str) -> str | None:
        return page[name] and page[name].isoformat()

    number = int(pair.ticker.rpartition("T")[2])
    return WireMarket(
        ticker=pair.ticker,
        event_ticker="KXA 1" if number % 23 == 0 else "KXA-1",
        title=page["title"],
        status=page["exchange_status"],
        open_time="soon" if number % 17 == 0 else text("open_time"),
        close_time=text("close_time"),
        settlement_ts=text("settled_time"),
        updated_time=text("exchange_updated_at"),
        yes_bid_dollars="abc" if number % 19 == 0 else f"0.{number % 100:02}00",
        volume_fp=f"{number}.00",
    )


async def emptied(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute("TRUNCATE series, events, markets CASCADE")


async def rows(connection: psycopg.AsyncConnection[Any]) -> Rows:
    found: Rows = {}
    for table, key in (("series", "ticker"), ("events", "event_ticker"), ("markets", "ticker")):
        cursor = await connection.execute(
            f"SELECT {key}, to_jsonb(t) - '{{created_at,updated_at}}'::text[] FROM {table} t"
        )
        found[table] = dict(await cursor.fetchall())
    return found


@pytest.mark.parametrize("seed", range(2))
async def test_both_services_make_the_same_rows_of_the_same_page(
    database: Database, seed: int
) -> None:
    """Markets in random states, last written by REST, a message or the clock, and random pages; an
    event that is a stub, and one that a message has written since."""
    pairs = market_pairs(random.Random(seed), 300)
    page = Page(items=[wire(pair) for pair in pairs], rejected_rows=[])
    told = [
        WireEvent(event_ticker=ticker, series_ticker="KXA", title="page", last_updated_ts=None)
        for ticker in ("KXA-1", "KXA-2", "KXA-3", "KXA-4")
    ]
    parents = {"event_ticker": "KXA-1", "series_ticker": "KXA"}
    async with (
        Sessions(SecretStr(database.url), "t", size=1, budget_seconds=30) as sessions,
        database.connect() as connection,
        database.connect() as writing,
        # All parents are stored, so nothing is asked for.
        KalshiRest("http://127.0.0.1:1/trade-api/v2") as rest,
    ):
        store, upserter = await Store.on(writing), RestUpserter(sessions, rest)

        async def as_before() -> None:
            await emptied(connection)
            await store_parents(connection)
            await store_them(connection, pairs, "markets", "ticker", **parents)
            query = (
                "INSERT INTO events (event_ticker, series_ticker, title, updated_at) VALUES"
                " ('KXA-2', 'KXA', NULL, %s), ('KXA-3', 'KXA', 'stored', %s)"
            )
            await connection.execute(query, (T + timedelta(seconds=1),) * 2)

        await as_before()
        untouched = await rows(connection)
        written = await store.write_markets(market_rows(page, T).markets)
        await store.write_events(event_rows(Page(items=told, rejected_rows=[]), T).events)
        by_sync = await rows(connection)

        await as_before()
        upserted = await upserter.upsert_markets(page.items, T)
        await upserter.upsert_events(told, T)
        by_lifecycle = await rows(connection)

    assert by_lifecycle == by_sync
    assert upserted.changed == written.inserted + written.updated
    assert upserted.transitions == written.became + type(written.became)(created=written.inserted)
    changed = {t for t, row in by_sync["markets"].items() if untouched["markets"].get(t) != row}
    assert len(changed) == upserted.changed
    assert 0 < len(changed) < len(pairs)
    titles = {ticker: row["title"] for ticker, row in by_sync["events"].items()}
    assert titles == {"KXA-1": "A?", "KXA-2": "page", "KXA-3": "stored", "KXA-4": "page"}
