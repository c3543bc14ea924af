"""Reads from PostgreSQL. Rows come as dicts in the shape of `ssmd_api.rows`."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, assert_never

from psycopg import sql

from ssmd_api import lists, rows, search
from ssmd_api.database import SHORT_PATIENCE_SECONDS, Database
from ssmd_api.filters import EventFilter, Filter, MarketFilter, SeriesFilter
from ssmd_api.lists import Statement, columns
from ssmd_api.paging import Page
from ssmd_api.rows import Row, named
from ssmd_common import tables
from ssmd_common.columns import Table
from ssmd_common.parts import Known, read
from ssmd_common.sql import Queries

queries: Final = Queries("ssmd_api")
common: Final = Queries("ssmd_common")

_ALL: Final = 2**31
_EXPORT_PAGE: Final = 500
_MOST_COLUMNS: Final = 100


@dataclass(frozen=True, slots=True)
class MarketDetail:
    """A market's row with the rows of its event and series."""

    market: Row
    event: Row
    series: Row

    def document(self) -> Row:
        return {**self.market, "event": self.event, "series": self.series}


class Store:
    """Every query of the API but those about keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        """Find out whether PostgreSQL answers; psycopg.OperationalError if it does not."""
        async with self._database.upkeep(SHORT_PATIENCE_SECONDS) as cursor:
            await cursor.execute(queries.ping)

    async def list_series(self, wanted: SeriesFilter, page: Page) -> list[Row]:
        return [named(tables.SERIES, row) for row in await self._list(lists.series(wanted, page))]

    async def list_events(self, wanted: EventFilter, page: Page) -> list[Row]:
        """Each event has its `market_count`."""
        return [_listed_event(row) for row in await self._list(lists.events(wanted, page))]

    async def list_markets(self, wanted: MarketFilter, page: Page) -> list[Row]:
        """Each market has parts of its event and its series."""
        return [_listed_market(row) for row in await self._list(lists.markets(wanted, page))]

    async def market(self, ticker: str) -> MarketDetail | None:
        query = sql.SQL(queries.market).format(
            market=columns("m", tables.MARKETS),
            event=columns("e", tables.EVENTS),
            series=columns("s", tables.SERIES),
        )
        found = await self._all(query, ticker=ticker)
        return _detail(found[0], tables.EVENTS, tables.SERIES) if found else None

    async def lookup(self, tickers: Sequence[str]) -> dict[str, Row]:
        """The columns `rows.LOOKUP` of the markets that exist, by ticker."""
        query = sql.SQL(queries.lookup).format(lookup=columns("m", rows.LOOKUP))
        found = await self._all(query, tickers=list(tickers))
        return {row[0]: named(rows.LOOKUP, row) for row in found}

    async def lifecycle(self, ticker: str, after: int, fetch: int) -> list[Row] | None:
        """A market's lifecycle events after an id; None for a market that is not known at all."""
        query = sql.SQL(queries.lifecycle).format(lifecycle=columns("l", tables.LIFECYCLE))
        found = await self._all(query, ticker=ticker, after=after, fetch=fetch)
        if not found and not (await self._all(sql.SQL(queries.market_exists), ticker=ticker))[0][0]:
            return None
        return [named(tables.LIFECYCLE, row) for row in found]

    async def event(self, ticker: str) -> Row | None:
        """An event with its series and its markets."""
        query = sql.SQL(queries.event).format(
            event=columns("e", tables.EVENTS), series=columns("s", tables.SERIES)
        )
        found = await self._all(query, ticker=ticker)
        if not found:
            return None
        query = sql.SQL(queries.event_markets).format(market=columns("m", tables.MARKETS))
        markets = [named(tables.MARKETS, row) for row in await self._all(query, ticker=ticker)]
        width = len(tables.EVENTS.names)
        return {
            **named(tables.EVENTS, found[0]),
            "market_count": len(markets),
            "series": named(tables.SERIES, found[0][width:]),
            "markets": markets,
        }

    async def series(self, ticker: str) -> Row | None:
        query = sql.SQL(queries.series).format(series=columns("s", tables.SERIES))
        found = await self._all(query, ticker=ticker)
        return named(tables.SERIES, found[0]) if found else None

    async def series_counts(self, ticker: str) -> Row:
        """How many events and markets a series has, by status."""
        events = await self._all(sql.SQL(queries.series_event_counts), ticker=ticker)
        markets = await self._all(sql.SQL(queries.series_market_counts), ticker=ticker)
        return {
            "events": {"open": 0, "closed": 0, "settled": 0, **dict(events)},
            "markets": {"open": 0, "active": 0, "closed": 0, "settled": 0, **dict(markets)},
        }

    async def fee_schedule(self, series: str) -> list[Row]:
        query = sql.SQL(queries.fee_schedule).format(fee=columns("f", tables.SERIES_FEES))
        return [named(tables.SERIES_FEES, row) for row in await self._all(query, ticker=series)]

    async def fee_tiers(self, tier: str | None = None) -> list[Row]:
        query = sql.SQL(queries.fee_tiers).format(tier=columns("f", tables.FEES))
        found = await self._all(query, tier=tier)
        return [named(tables.FEES, row) for row in found]

    async def search(self, words: Sequence[str], kinds: Sequence[str], limit: int) -> list[Row]:
        """What has every word; if there is nothing, what is like the text. The best first."""
        found = await self._list(search.search(words, kinds, limit, fuzzy=False))
        if not found:
            found = await self._list(search.search(words, kinds, limit, fuzzy=True))
        return [dict(zip(search.COLUMNS, row, strict=True)) for row in found]

    async def stats_series(self) -> list[tuple[Any, ...]]:
        return await self._all(sql.SQL(queries.stats_series))

    async def stats_markets(self, now: datetime) -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
        """(series, category, status, markets), and how many close within an hour, a day, a week."""
        by_series = await self._all(sql.SQL(queries.stats_markets_by_series))
        return by_series, (await self._all(sql.SQL(queries.stats_expiring), now=now))[0]

    async def stats_sync(self, limit: int) -> Row:
        """Each job's last run and last success, the latest runs, the resume points."""
        run = columns("r", rows.SYNC_RUNS)
        last = await self._all(sql.SQL(queries.stats_last_runs).format(run=run))
        successes = dict(await self._all(sql.SQL(queries.stats_last_successes)))
        recent = await self._all(sql.SQL(queries.stats_recent_runs).format(run=run), limit=limit)
        return {
            "jobs": {
                row[0]: {
                    "last_success_at": successes.get(row[0]),
                    "last_run": named(rows.SYNC_RUNS, row[1:]),
                }
                for row in last
            },
            "recent_runs": [named(rows.SYNC_RUNS, row) for row in recent],
            "watermarks": dict(await self._all(sql.SQL(queries.stats_watermarks))),
        }

    async def status(self) -> Known:
        """What every service says of itself, and what may be missing."""
        return read((await self._all(sql.SQL(common.status_overview)))[0][0])

    async def covering_runs(self) -> list[tuple[Any, ...]]:
        """(scope, started_at, finished_at, unread) of the runs that freshness counts, the last one
        first."""
        async with self._database.upkeep(SHORT_PATIENCE_SECONDS) as cursor:
            await cursor.execute(queries.covering_runs)
            return await cursor.fetchall()

    async def export(self, wanted: Filter) -> AsyncGenerator[list[Row], None]:
        """Every row of a list in pages, all of one state of the database."""
        statement, shape = _whole(wanted)
        async with self._database.reading() as connection:
            pages = self._database.pages(connection, statement, _EXPORT_PAGE)
            async with aclosing(pages):
                async for page in pages:
                    yield [shape(row) for row in page]

    def empty_row(self, wanted: Filter) -> Row:
        """The shape of an exported row, all null."""
        _, shape = _whole(wanted)
        return shape([None] * _MOST_COLUMNS)

    async def _list(self, statement: Statement) -> list[tuple[Any, ...]]:
        return await self._all(statement.query, **statement.parameters)

    async def _all(self, query: sql.SQL | sql.Composed, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self._database.cursor() as cursor:
            await cursor.execute(query, parameters)
            return await cursor.fetchall()


def _whole(wanted: Filter) -> tuple[Statement, Callable[[Sequence[Any]], Row]]:
    match wanted:
        case SeriesFilter():
            return lists.series(wanted, Page("ticker", _ALL)), partial(named, tables.SERIES)
        case EventFilter():
            return lists.events(wanted, Page("event_ticker", _ALL)), _listed_event
        case MarketFilter():
            return lists.markets(wanted, Page("ticker", _ALL)), _listed_market
        case _:
            assert_never(wanted)


def _listed_event(values: Sequence[Any]) -> Row:
    return {**named(tables.EVENTS, values), "market_count": values[-1]}


def _listed_market(values: Sequence[Any]) -> Row:
    return _detail(values, rows.EVENT_OF_MARKET, rows.SERIES_OF_MARKET).document()


def _detail(values: Sequence[Any], event: Table, series: Table) -> MarketDetail:
    at_event = len(tables.MARKETS.names)
    at_series = at_event + len(event.names)
    return MarketDetail(
        named(tables.MARKETS, values),
        named(event, values[at_event:]),
        named(series, values[at_series:]),
    )
