"""As of a moment, too, a page and a row are found by indexes, though everything changed since."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest_asyncio
from psycopg import AsyncConnection, sql

from ssmd_api import asof, includes, lists, shapes
from ssmd_api.cursors import Cursor
from ssmd_api.database import PLANNING
from ssmd_api.filters import EventFilter, MarketFilter
from ssmd_api.lists import Listing, Statement
from ssmd_api.paging import Page
from ssmd_api.store import queries
from ssmd_stack.database import Database

MARKETS, EVENTS, SERIES = 6000, 400, 200
MOST = 2500
"""Of 6,000 markets with 18,000 changes, 400 events and 200 series."""

FILL = (
    f"INSERT INTO series (ticker) SELECT 'S' || g FROM generate_series(1, {SERIES}) g",
    (
        "INSERT INTO events (event_ticker, series_ticker)"
        f" SELECT 'E' || g, 'S' || g % {SERIES} + 1 FROM generate_series(1, {EVENTS}) g"
    ),
    (
        "INSERT INTO markets (ticker, event_ticker, series_ticker, title)"
        " SELECT 'M' || lpad(g::text, 6, '0'), event_ticker, series_ticker, 'as it was'"
        f" FROM generate_series(1, {MARKETS}) g"
        f" JOIN events ON event_ticker = 'E' || g % {EVENTS} + 1"
    ),
)


class Past(NamedTuple):
    connection: AsyncConnection[Any]
    moment: str

    async def plan(self, statement: Statement, by_key: str | None = None) -> dict[str, Any]:
        query = sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) {}").format(
            asof.then(statement.query, by_key=by_key)
        )
        parameters = {
            **statement.parameters,
            "known_at": self.moment,
            includes.FEES_AT: datetime.now(UTC),
        }
        rows = await (await self.connection.execute(query, parameters)).fetchall()
        return dict(rows[0][0][0]["Plan"])


@pytest_asyncio.fixture
async def past(database: Database) -> AsyncIterator[Past]:
    async with database.connect() as connection:
        for statement in ("SELECT history.notice()", "SELECT history.maintain('90 days')", *FILL):
            await connection.execute(statement)
        [(moment,)] = await (
            await connection.execute("SELECT m::text FROM history.moment(clock_timestamp()) m")
        ).fetchall()
        for title in ("a", "b", "c"):
            await connection.execute("UPDATE markets SET title = %s", (title,))
            await connection.execute("UPDATE events SET title = %s", (title,))
        await connection.execute("VACUUM ANALYZE")
        for name, value in PLANNING.items():
            await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        yield Past(connection, moment)


def read(plan: dict[str, Any]) -> int:
    """Rows that were read anywhere, also those that a filter left out."""
    own = 0
    if "Relation Name" in plan:
        own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return int(own) + sum(map(read, plan.get("Plans", ())))


BY_KEY = Page("ticker", 100)
LISTINGS: tuple[Listing, ...] = (
    lists.markets(MarketFilter(), BY_KEY),
    lists.markets(MarketFilter(), Page("ticker", 100, Cursor("ticker", "M003000", "M003000"))),
    lists.markets(MarketFilter(series=["S20"]), BY_KEY),
    lists.markets(MarketFilter(event=["E20"], statuses=["open"]), Page("-close_time", 100)),
    lists.events(EventFilter(series=["S20"]), Page("event_ticker", 100)),
    *(
        lists.events(
            wanted, Page("event_ticker", 5), shapes.EVENTS.including(shapes.EVENTS.includes)
        )
        for wanted in (EventFilter(), EventFilter(series=["S20"]))
    ),
    lists.markets(MarketFilter(), BY_KEY, shapes.MARKETS.including(["event", "series", "fees"])),
)


async def test_pages_do_not_read_everything(past: Past) -> None:
    for listing in LISTINGS:
        plan = await past.plan(listing, listing.by_key)
        assert read(plan) < MOST, (listing.parameters, plan)


async def test_single_rows_do_not_read_everything(past: Past) -> None:
    columns = sql.SQL("m.title, e.title, s.title")
    lookup = sql.SQL("m.ticker, m.title")
    for query, parameters in (
        (sql.SQL(queries.market).format(columns=columns), {"ticker": "M000020"}),
        (sql.SQL(queries.event).format(columns=sql.SQL("e.title, s.title")), {"ticker": "E20"}),
        (sql.SQL(queries.lookup).format(lookup=lookup), {"tickers": ["M000020", "M000021"]}),
        (sql.SQL(queries.event_markets).format(market=lookup), {"ticker": "E20"}),
        (sql.SQL(queries.series_market_counts), {"ticker": "S20"}),
    ):
        plan = await past.plan(Statement(query, dict(parameters)))
        assert read(plan) < MOST, (query, plan)
