"""What REST tells of single series, events and markets, into PostgreSQL.

For what messages leave open: the rest of a new market's fields, and whatever a gap may have hidden.
Whole universes are the sync service's.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, LiteralString

import structlog
from psycopg import sql

from ssmd_common import models
from ssmd_kalshi import convert, markets
from ssmd_kalshi.errors import BadFieldError, NotFoundError
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.wire import WireEvent, WireMarket
from ssmd_lifecycle import metrics
from ssmd_lifecycle.rows import (
    Connection,
    Pool,
    add_series,
    encode_read,
    in_transaction,
    lock_events,
    queries,
)

log = structlog.get_logger(__name__)

_OBSERVATION: Final = frozenset({"observed_at", "observed_via"})


def _fill(query: LiteralString, row: type[models.Row], *, without: frozenset[str]) -> bytes:
    columns = [name for name in row.columns() if name not in without]
    compared = [name for name in columns if name not in _OBSERVATION]

    def listed(names: Sequence[str], of: str | None = None) -> sql.Composed:
        return sql.SQL(", ").join(
            sql.Identifier(of, name) if of else sql.Identifier(name) for name in names
        )

    def assigned(of: LiteralString) -> sql.Composed:
        return sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier(of, name))
            for name in columns
        )

    composed = sql.SQL(query).format(
        columns=listed(columns),
        given_columns=listed(columns, "g"),
        assignments=assigned("g"),
        excluded=assigned("excluded"),
        excluded_columns=listed(compared, "excluded"),
        stored=listed(compared, "m"),
        given=listed(compared, "g"),
    )
    return composed.as_bytes(None)


_NOTHING: Final[frozenset[str]] = frozenset()
# An unknown word has no status, so the status is not simply what is given.
_STATUS: Final = frozenset({"status"})
COMPLETE_SERIES: Final = _fill(queries.complete_series, models.Series, without=_NOTHING)
MIRROR_EVENTS: Final = _fill(queries.mirror_events, models.Event, without=_NOTHING)
ADD_EVENTS: Final = _fill(queries.add_events, models.Event, without=_NOTHING)
MIRROR_MARKETS: Final = _fill(queries.mirror_markets, models.Market, without=_STATUS)
ADD_MARKETS: Final = _fill(queries.add_markets, models.Market, without=_STATUS)


@dataclass(slots=True)
class Mirrored:
    """What a page of REST changed."""

    changed: int = 0
    transitions: Counter[str] = field(default_factory=Counter)
    told: Sequence[models.Market] = ()
    """All that could be read, changed or not."""


class Mirror:
    """Reads parents where they are missing, and writes only what differs and is newer."""

    def __init__(self, pool: Pool, rest: KalshiRest) -> None:
        self._pool = pool
        self._rest = rest

    async def markets(self, wires: Sequence[WireMarket], asked_at: datetime) -> Mirrored:
        """Write markets as REST told them when it was asked at `asked_at`."""
        if not wires:
            return Mirrored()
        parents = sorted({wire.event_ticker for wire in wires if wire.event_ticker})
        known = await self._known_events(parents)
        if missing := [ticker for ticker in parents if ticker not in known]:
            await self.fetch_events(missing)

        async def attempt(connection: Connection) -> Mirrored:
            events = await lock_events(connection, parents)
            series_of = {ticker: event.series_ticker for ticker, event in events.items()}
            converted = markets.market_rows(wires, series_of, asked_at)
            if converted.set_aside or converted.orphans:
                metrics.ERRORS.labels("market_set_aside").inc(
                    len(converted.set_aside) + len(converted.orphans)
                )
                log.warning(
                    "markets set aside",
                    unreadable=[row.ticker for row in converted.set_aside][:5],
                    without_event=[wire.ticker for wire in converted.orphans][:5],
                )
            return await _write(connection, converted.rows, list(events))

        return await in_transaction(self._pool, attempt)

    async def fetch_events(self, tickers: Iterable[str]) -> set[str]:
        """Read events over REST and write them; those that the exchange knows."""
        found: set[str] = set()
        for chunk in chunks(sorted(tickers)):
            async for page in self._rest.events(tickers=chunk):
                found |= await self.events(page.items)
        # The listing leaves multivariate events out; single reads know them.
        for ticker in sorted(set(tickers) - found):
            try:
                event = await self._rest.event(ticker, with_nested_markets=False)
            except NotFoundError:
                continue
            found |= await self.events([event])
        return found

    async def events(self, wires: Sequence[WireEvent]) -> set[str]:
        """Write events as REST told them; those that could be read."""
        rows: list[models.Event] = []
        for wire in wires:
            try:
                rows.append(convert.event(wire))
            except BadFieldError as error:
                metrics.ERRORS.labels("event_set_aside").inc()
                log.warning("event set aside", event=wire.event_ticker, error=str(error))
        if not rows:
            return set()
        await self._complete_series({row.series_ticker for row in rows})
        tickers = sorted(row.event_ticker for row in rows)

        async def attempt(connection: Connection) -> None:
            await add_series(connection, {row.series_ticker for row in rows})
            await lock_events(connection, tickers)
            given = {"rows": encode_read(rows)}
            await connection.execute(MIRROR_EVENTS, given)
            await connection.execute(ADD_EVENTS, given)

        await in_transaction(self._pool, attempt)
        return set(tickers)

    async def _complete_series(self, tickers: set[str]) -> None:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(queries.complete_already, [sorted(tickers)])
            complete = {ticker for (ticker,) in await cursor.fetchall()}
        rows = []
        for ticker in sorted(tickers - complete):
            try:
                rows.append(convert.series(await self._rest.one_series(ticker)))
            except (NotFoundError, BadFieldError) as error:
                metrics.ERRORS.labels("series_set_aside").inc()
                log.warning("series stays a stub", series=ticker, error=str(error))
        if rows:
            async with self._pool.connection() as connection:
                await connection.execute(COMPLETE_SERIES, {"rows": encode_read(rows)})

    async def _known_events(self, tickers: Sequence[str]) -> set[str]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(queries.series_of_events, [list(tickers)])
            return {ticker for ticker, _ in await cursor.fetchall()}


async def _write(
    connection: Connection, rows: Sequence[models.Market], events: Sequence[str]
) -> Mirrored:
    result = Mirrored(told=rows)
    if not rows:
        return result
    cursor = await connection.execute(queries.lock_statuses, [[row.ticker for row in rows]])
    before = dict(await cursor.fetchall())
    given = {"rows": encode_read(rows)}
    cursor = await connection.execute(MIRROR_MARKETS, given)
    for ticker, status in await cursor.fetchall():
        result.changed += 1
        if before.get(ticker) != status:
            result.transitions[status] += 1
    cursor = await connection.execute(ADD_MARKETS, given)
    for _ in await cursor.fetchall():
        result.changed += 1
        result.transitions["created"] += 1
    await connection.execute(queries.settle_events, [list(events)])
    return result


MAX_TICKERS: Final = 100


def chunks(tickers: Sequence[str]) -> Iterable[Sequence[str]]:
    """As many tickers as one request may name."""
    for start in range(0, len(tickers), MAX_TICKERS):
        yield tickers[start : start + MAX_TICKERS]
