"""Reads from PostgreSQL. Rows come as dicts in the shape of `ssmd_api.rows`."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, LiteralString, assert_never

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ssmd_api import asof, includes, lists, pages, paging, rows, search, shapes
from ssmd_api.asof import Past
from ssmd_api.database import SHORT_PATIENCE_SECONDS, Connection, Cursor, Database
from ssmd_api.feeschedule import OWN_FEE, Terms, complete
from ssmd_api.filters import EventFilter, Filter, MarketFilter, SeriesFilter
from ssmd_api.kinds import Multivariate
from ssmd_api.lists import AGED_MARKET, AGED_SERIES, Listing, Statement, columns
from ssmd_api.paging import Listed, Page
from ssmd_api.problems import Fault, bad_parameters
from ssmd_api.rows import Row, named
from ssmd_api.shapes import Shape
from ssmd_api.versions import Version, of_composite, version
from ssmd_common import tables
from ssmd_common.columns import Table
from ssmd_common.parts import Known, read
from ssmd_common.sql import Queries

queries: Final = Queries("ssmd_api")
common: Final = Queries("ssmd_common")

AGED: Final = (*AGED_MARKET.names, *(f"series.{name}" for name in AGED_SERIES.names))
"""What the age of a single market needs."""

STEP: Final = (
    "id",
    "event_type",
    "market_ticker",
    "at",
    "source",
    "result",
    "title",
    "yes_sub_title",
)
"""Of a step of a market's life: when it was said, by whom (ws, clock, rest), and of what market."""

GAP: Final = ("id", "reason", "began_at", "ended_at", "repaired_at", "changed")
"""Of an interval without lifecycle messages; `changed` rows once it was repaired over REST."""

_EXPORT_PAGE: Final = 500
_EXPORT_PAGE_WITH_MARKETS: Final = 10
_ONE: Final = Page("ticker", 1)
_INCLUDED: Final = ("lifecycle", "fees")
"""What a single market has on request only."""
EXACT: Final = sql.SQL("SELECT count(*) FROM ({}) of_list")
ESTIMATE: Final = sql.SQL("EXPLAIN (FORMAT JSON) {}")
_TOO_MANY: Final = "takes too long to be exact: ask for estimated, or with more filters"


class Store:
    """Every query of the API but those about keys; of now, or as of a moment."""

    def __init__(self, database: Database, past: Past | None = None) -> None:
        self._database = database
        self.past = past

    @asynccontextmanager
    async def as_of(self, at: datetime | None, parameter: str = "as_of") -> AsyncIterator["Store"]:
        """What this database knew at a moment, of series, events, markets and fees; None is now.

        Raises:
            Problem: a 400 of the parameter, if the record does not have the moment.
        """
        if at is None:
            yield self
            return
        async with self._database.transaction() as connection:
            with asof.refused(parameter):
                async with self._database.cursor_of(connection) as cursor:
                    await cursor.execute(queries.moment, {"at": at}, prepare=True)
                    [(moment,)] = await cursor.fetchall()
            yield Store(self._database, Past(connection, moment, at))

    async def ping(self) -> None:
        """Find out whether PostgreSQL answers; psycopg.OperationalError if it does not."""
        async with self._database.upkeep(SHORT_PATIENCE_SECONDS) as cursor:
            await cursor.execute(queries.ping)

    async def list_series(self, wanted: SeriesFilter, page: Page, shape: Shape) -> Listed:
        return await self.listed(lists.series(wanted, page, shape))

    async def list_events(
        self, wanted: EventFilter, page: Page, shape: Shape, aged: Sequence[Table] = ()
    ) -> Listed:
        """Each event may have its `market_count`, its series, its fees and its markets; with these
        a page may be shorter (`includes.MOST_MARKETS`), and ages have what `aged` has of them."""
        return await self.listed(lists.events(wanted, page, shape, aged))

    async def list_markets(
        self, wanted: MarketFilter, page: Page, shape: Shape, aged: Sequence[Table]
    ) -> Listed:
        """Each market may have parts of its event and its series; ages have what `aged` has."""
        past = self.past is not None
        return await self.listed(lists.markets(wanted, page, shape, aged, past=past))

    async def market(self, ticker: str, shape: Shape) -> Row | None:
        """What the shape, one of `shapes.ONE_MARKET`, has of a market, and what its age needs."""
        included = [name for name in _INCLUDED if name in shape.members]
        whole = shapes.ONE_MARKET.including(included)
        read = whole.selected([*shape.leaves, *rows.FOLLOWED, *AGED], [])
        if included:
            wanted = MarketFilter(ticker=[ticker], multivariate=Multivariate.INCLUDE)
            return await self._one(lists.markets(wanted, _ONE, read, deleted=True))
        stored = [name for name in read.table.names if name in tables.MARKETS.names]
        table = read.table.only(*stored)
        parts = {"m": table, "e": read.members["event"], "s": read.members["series"]}
        query = sql.SQL(queries.market).format(columns=_columns(parts))
        found = await self._all(query, ticker=ticker)
        if not found:
            return None
        values = iter(found[0])
        row = _next(values, table)
        return rows.completed(
            row | {member: _next(values, of) for member, of in read.members.items() if of}
        )

    async def lookup_including(self, tickers: Sequence[str], shape: Shape) -> dict[str, Row]:
        """What the shape has of the markets that exist, by ticker: up to 1,000 at a time."""
        read = Shape(_with_ticker(shape.table), shape.members)
        page = Page("ticker", max(1, len(tickers)))
        wanted = MarketFilter(ticker=tickers, multivariate=Multivariate.INCLUDE)
        found = (await self.listed(lists.markets(wanted, page, read))).values()
        return {row["ticker"]: shape.pick(row) for row in found}

    async def lookup(self, tickers: Sequence[str], table: Table) -> dict[str, Row]:
        """The table's columns of the markets that exist, by ticker."""
        parts = {"m": Table(table.name, (tables.MARKETS["ticker"], *table.columns))}
        query = sql.SQL(queries.lookup).format(lookup=_columns(parts))
        found = await self._all(query, tickers=list(tickers))
        return {row[0]: named(table, row[1:]) for row in found}

    async def collections(
        self, series: str | None, event: str | None, after: str, fetch: int
    ) -> list[Row]:
        """Collections by their tickers, after one; of a series, and with an event."""
        query = sql.SQL(queries.collections).format(columns=columns("c", tables.COLLECTIONS))
        found = await self._all(
            query,
            series=series,
            event=event and Jsonb([{"ticker": event}]),
            after=after,
            fetch=fetch,
        )
        return [named(tables.COLLECTIONS, row) for row in found]

    async def collection(self, ticker: str) -> Row | None:
        query = sql.SQL(queries.collection).format(columns=columns("c", tables.COLLECTIONS))
        found = await self._all(query, ticker=ticker)
        return named(tables.COLLECTIONS, found[0]) if found else None

    async def lifecycle(
        self, ticker: str, after: int, fetch: int, table: Table
    ) -> list[Row] | None:
        """A market's lifecycle events after an id, with their `id` first; None for a market that is
        not known at all."""
        table = table.without("id") if "id" in table.names else table
        table = Table(table.name, (tables.LIFECYCLE["id"], *table.columns))
        query = sql.SQL(queries.lifecycle).format(lifecycle=columns("l", table))
        found = await self._all(query, ticker=ticker, after=after, fetch=fetch)
        if not found and not (await self._all(sql.SQL(queries.market_exists), ticker=ticker))[0][0]:
            return None
        return [named(table, row) for row in found]

    async def event_steps(self, event: str, fetch: int) -> list[Row]:
        """The last messages about an event itself, the last first."""
        query = sql.SQL(queries.event_steps).format(lifecycle=columns("l", tables.LIFECYCLE))
        found = await self._all(query, event=event, fetch=fetch)
        return [named(tables.LIFECYCLE, row) for row in found]

    async def gaps(self, fetch: int) -> list[Row]:
        """Intervals in which lifecycle may have missed messages: those that are not repaired first,
        then the last ones."""
        found = await self._all(sql.SQL(queries.gaps), fetch=fetch)
        return [dict(zip(GAP, row, strict=True)) for row in found]

    async def event(self, ticker: str, shape: Shape) -> Row | None:
        """What the shape, one of `shapes.ONE_EVENT`, has of an event with its series and its
        markets; with markets also what their age needs."""
        members = shape.members
        aged = [f"markets.{name}" for name in AGED_MARKET.names]
        aged += [f"series.{name}" for name in AGED_SERIES.names]
        whole = shapes.ONE_EVENT.including(["fees"] if "fees" in members else [])
        read = whole.selected(
            ["event_ticker", *shape.leaves, *(aged if "markets" in members else ())], []
        )
        if "fees" in members:
            wanted = EventFilter(event=[ticker], multivariate=Multivariate.INCLUDE)
            page = Page("event_ticker", 1)
            return await self._one(lists.events(wanted, page, read, deleted=True))
        parts = {"e": read.table, "s": read.members.get("series")}
        query = sql.SQL(queries.event).format(columns=_columns(parts))
        found = await self._all(query, ticker=ticker)
        if not found:
            return None
        values = iter(found[0])
        row = _next(values, read.table)
        if series := read.members.get("series"):
            row["series"] = _next(values, series)
        if table := read.members.get("markets"):
            query = sql.SQL(queries.event_markets).format(market=columns("m", table))
            row["markets"] = [named(table, each) for each in await self._all(query, ticker=ticker)]
            row["market_count"] = len(row["markets"])
        elif "market_count" in members:
            count = await self._all(sql.SQL(queries.event_market_count), ticker=ticker)
            row["market_count"] = count[0][0]
        return row

    async def series(self, ticker: str, table: Table) -> Row | None:
        query = sql.SQL(queries.series).format(series=_columns({"s": table}))
        found = await self._all(query, ticker=ticker)
        return named(table, found[0]) if found else None

    async def series_including(self, ticker: str, shape: Shape) -> Row | None:
        """A series with its fees."""
        return await self._one(lists.series(SeriesFilter(series=[ticker]), _ONE, shape))

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

    async def fee_terms(self, tickers: Sequence[str]) -> dict[str, Terms]:
        """What these markets' fees follow from, deleted ones' too; unknown ones are missing."""
        markets = await self._all(sql.SQL(queries.quoted), tickers=list(dict.fromkeys(tickers)))
        series = {row[3]: dict(zip(OWN_FEE, row[3:], strict=True)) for row in markets}
        steps = await self.fee_schedules(list(series))
        schedules = {name: complete(steps.get(name, []), own) for name, own in series.items()}
        return {
            ticker: Terms(
                schedule=schedules[name], type_override=fee_type, multiplier_override=multiplier
            )
            for ticker, fee_type, multiplier, name, *_ in markets
        }

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

    async def versions(
        self, table: Table, ticker: str, before: int, fetch: int
    ) -> list[Version] | None:
        """Changes of a row before a number, the last first; None where none is known and no such
        row is there."""
        kept = table.only(*(column.name for column in table.columns if not column.volatile))
        names = {
            "table": sql.Identifier(table.name),
            "changes": sql.Identifier("history", f"{table.name}_changes"),
            "key": sql.Identifier(table.columns[0].name),
            "before": of_composite("before", kept),
            "after": of_composite("after", kept),
        }
        query = sql.SQL(queries.versions).format(**names)
        found = await self._all(query, ticker=ticker, before=before, fetch=fetch)
        if not found:
            exists = sql.SQL(queries.has_row).format(**names)
            if not (await self._all(exists, ticker=ticker))[0][0]:
                return None
        return [version(kept, values) for values in found]

    async def record_begins(self) -> str | None:
        """The first moment that can be asked for."""
        [(begins,)] = await self._all(sql.SQL(queries.record_begins))
        return begins and str(begins)

    async def stats_series(self) -> list[tuple[Any, ...]]:
        """(series, category, active, is_game, events, volume) of all."""
        return await self._all(sql.SQL(queries.stats_series))

    async def stats_markets(
        self, now: datetime, *, by_series: bool = True
    ) -> list[tuple[Any, ...]]:
        """(series, category, status, markets, closing within an hour, a day, a week) of all; else
        without series, each of which is then empty."""
        return await self._all(sql.SQL(queries.stats_markets), now=now, by_series=by_series)

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

    async def latest_steps(self, types: Sequence[str], limit: int) -> list[Row]:
        """The last steps of markets' lives, the last first: see `STEP`."""
        found = await self._all(sql.SQL(queries.latest_steps), types=list(types), limit=limit)
        return [dict(zip(STEP, row, strict=True)) for row in found]

    async def series_of(self, tickers: Sequence[str], table: Table) -> dict[str, Row]:
        """The table's columns of those series that exist, by ticker."""
        parts = {"s": Table(table.name, (tables.SERIES["ticker"], *table.columns))}
        query = sql.SQL(queries.series_of).format(series=_columns(parts))
        found = await self._all(query, tickers=list(tickers))
        return {row[0]: named(table, row[1:]) for row in found}

    async def fee_schedules(self, series: Sequence[str]) -> dict[str, list[Row]]:
        """The schedules of several series; of one that has none, none."""
        query = sql.SQL(queries.fee_schedules).format(fee=columns("f", tables.SERIES_FEES))
        schedules: dict[str, list[Row]] = {}
        for row in await self._all(query, tickers=list(series)):
            step = named(tables.SERIES_FEES, row)
            schedules.setdefault(step["series_ticker"], []).append(step)
        return schedules

    async def created_daily(
        self, days: int, at: datetime, series: Sequence[str] | None = None
    ) -> dict[str, dict[str, int]]:
        """Markets made in each of the last `days` days (UTC, as 2026-02-03), by series: of some, or
        of all."""
        tickers = None if series is None else list(series)
        query = sql.SQL(queries.created_daily)
        found: dict[str, dict[str, int]] = {}
        for ticker, day, markets in await self._all(query, tickers=tickers, days=days, at=at):
            found.setdefault(ticker, {})[day] = markets
        return found

    async def status(self) -> Known:
        """What every service says of itself, and what may be missing."""
        return read((await self._all(sql.SQL(common.status_overview)))[0][0])

    async def covering_runs(self) -> list[tuple[Any, ...]]:
        """(scope, started_at, finished_at, unread) of the runs that freshness counts, the last one
        first."""
        async with self._database.upkeep(SHORT_PATIENCE_SECONDS) as cursor:
            await cursor.execute(queries.covering_runs)
            return await cursor.fetchall()

    async def export(
        self, wanted: Filter, shape: Shape, sort: str | None = None
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Every row of a list as JSON, in pages, all of one state of the database; in the order of
        the list's key where none is given."""
        listing = _whole(wanted, shape, sort, past=self.past is not None)
        listing = replace(
            listing,
            query=self._then(listing.query),
            parameters=self._known_of(listing),
        )
        async with self._reading() as connection:
            size = _EXPORT_PAGE_WITH_MARKETS if listing.bounded else _EXPORT_PAGE
            found = self._database.pages(connection, listing, size)
            async with aclosing(found):
                async for page in found:
                    yield listing.rendering.rows(pages.texts(page, page.ntuples))

    async def listed(self, listing: Listing) -> Listed:
        """A page of a list."""
        query = self._then(listing.query, listing.by_key)
        known = Statement(query, self._known_of(listing))
        if self.past is None:
            result = await self._database.result(
                known, generic=bool(listing.by_key and known.parameters)
            )
        else:
            connection = self.past.connection
            if listing.by_key:
                await connection.execute(asof.GENERIC_PLANS)
            result = await self._database.result_of(connection, known)
        found = pages.taken(listing.rendering, result, listing.page.limit)
        following = None
        if found.more:
            following = paging.following(listing.page, found.keys, found.ticker)
        count = await self._count(listing) if listing.rows else None
        return Listed(found.rows, following, found.ages, count)

    async def _one(self, listing: Listing) -> Row | None:
        """The row of a list that has one at most."""
        found = (await self.listed(listing)).values()
        return found[0] if found else None

    async def _count(self, listing: Listing) -> int:
        """Of the whole list's rows; 400 where that takes longer than a statement may."""
        assert listing.rows
        if listing.page.counted == "estimated":
            query = ESTIMATE.format(self._then(listing.rows))
            async with self._cursor() as cursor:
                await cursor.execute(query, self._known(listing.parameters))
                [(explained,)] = await cursor.fetchall()
            return int(explained[0]["Plan"]["Plan Rows"])
        try:
            [(count,)] = await self._all(EXACT.format(listing.rows), **listing.parameters)
        except psycopg.errors.QueryCanceled:
            raise bad_parameters([Fault("count", _TOO_MANY)]) from None
        return int(count)

    async def _list(self, statement: Statement) -> list[tuple[Any, ...]]:
        return await self._all(statement.query, **statement.parameters)

    async def _all(self, query: sql.SQL | sql.Composed, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self._cursor() as cursor:
            await cursor.execute(self._then(query), self._known(parameters))
            return await cursor.fetchall()

    def _cursor(self) -> AbstractAsyncContextManager[Cursor]:
        if self.past is None:
            return self._database.cursor()
        return self._database.cursor_of(self.past.connection)

    def _reading(self) -> AbstractAsyncContextManager[Connection]:
        if self.past is None:
            return self._database.reading()
        return nullcontext(self.past.connection)

    def _then(
        self, query: sql.SQL | sql.Composed, by_key: str | None = None
    ) -> sql.SQL | sql.Composed:
        return query if self.past is None else asof.then(query, by_key=by_key)

    def _known_of(self, listing: Listing) -> dict[str, Any]:
        parameters = listing.parameters
        if "fees" in listing.rendering.shape.members:
            at = self.past.at if self.past else datetime.now(UTC)
            parameters = {**parameters, includes.FEES_AT: at}
        return self._known(parameters)

    def _known(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return parameters if self.past is None else self.past.parameters(parameters)


def _whole(wanted: Filter, shape: Shape, sort: str | None, *, past: bool) -> Listing:
    match wanted:
        case SeriesFilter():
            return lists.series(wanted, Page(sort or "ticker", lists.EVERYTHING), shape)
        case EventFilter():
            return lists.events(wanted, Page(sort or "event_ticker", lists.EVERYTHING), shape)
        case MarketFilter():
            page = Page(sort or "ticker", lists.EVERYTHING)
            return lists.markets(wanted, page, shape, past=past)
        case _:
            assert_never(wanted)


def _with_ticker(table: Table) -> Table:
    ticker = tables.MARKETS["ticker"]
    return table if ticker in table.columns else Table(table.name, (ticker, *table.columns))


def _columns(parts: Mapping[LiteralString, Table | None]) -> sql.Composed:
    """The columns of tables by alias; of none at all, the constant 1."""
    found = [columns(alias, table) for alias, table in parts.items() if table and table.columns]
    return sql.SQL(", ").join(found) if found else sql.Composed([sql.SQL("1")])


def _next(values: Iterator[Any], table: Table) -> Row:
    """A row of the values that come next."""
    return {name: next(values) for name in table.names}
