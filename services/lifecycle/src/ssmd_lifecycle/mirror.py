"""What REST tells of single series, events and markets, into PostgreSQL.

For what messages leave open: the rest of a new market's fields, and whatever a gap may have hidden.
Whole universes are the sync service's.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, LiteralString

import msgspec
import structlog
from psycopg import sql

from ssmd_common import models
from ssmd_kalshi import convert, markets
from ssmd_kalshi.errors import (
    BadFieldError,
    BadRequestError,
    BrokenReplyError,
    NotFoundError,
    RefusedError,
)
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.unread import ticker_fault
from ssmd_kalshi.wire import WireEvent, WireMarket
from ssmd_lifecycle import metrics
from ssmd_lifecycle.rows import (
    REFUSED,
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


UNREADABLE: Final = (BadFieldError, BadRequestError, RefusedError, BrokenReplyError)
"""What is wrong with one row that was asked for alone."""
BELIEVED_BROKEN: Final = 3
"""Readings, each with all its retries, after which a broken reply is the row's fault."""
_MOST_BROKEN: Final = 10_000


@dataclass(slots=True)
class Mirrored:
    """What a page of REST changed."""

    changed: int = 0
    transitions: Counter[str] = field(default_factory=Counter)
    told: Sequence[models.Market] = ()
    """All that could be read, changed or not."""

    def and_(self, other: "Mirrored") -> "Mirrored":
        """Both together."""
        return Mirrored(
            self.changed + other.changed,
            self.transitions + other.transitions,
            [*self.told, *other.told],
        )


class Mirror:
    """Reads parents where they are missing, and writes only what differs and is newer.

    A field that cannot be read costs itself: a stored row keeps its value, a new one has NULL. A
    row that cannot be read or has no place is rejected, the others of its page are written.
    """

    def __init__(self, pool: Pool, rest: KalshiRest) -> None:
        self._pool = pool
        self._rest = rest
        self._broken: Counter[str] = Counter()

    async def markets(self, wires: Sequence[WireMarket], asked_at: datetime) -> Mirrored:
        """Write markets as REST told them when it was asked at `asked_at`."""
        if not wires:
            return Mirrored()
        parents = {t for w in wires if (t := w.event_ticker) and not ticker_fault(t)}
        known = await self._known_events(sorted(parents))
        if missing := [ticker for ticker in sorted(parents) if ticker not in known]:
            await self.fetch_events(missing)

        async def attempt(connection: Connection) -> Mirrored:
            stored = await _stored_parents(connection, wires)
            events = await lock_events(connection, sorted(parents | set(stored.values())))
            series_of = {ticker: event.series_ticker for ticker, event in events.items()}
            converted = markets.market_rows(wires, series_of, asked_at)
            rows = list(converted.rows)
            for row in converted.parentless:
                if (event := events.get(stored.get(row.ticker, ""))) is not None:
                    parent = {
                        "event_ticker": event.event_ticker,
                        "series_ticker": event.series_ticker,
                    }
                    rows.append(msgspec.structs.replace(row, **parent))
            _tell_of_fields("market", ((row.ticker, row) for row in rows))
            if rejected := len(wires) - len(rows):
                metrics.ERRORS.labels("market_set_aside").inc(rejected)
                placed = {row.ticker for row in rows}
                log.warning(
                    "markets rejected",
                    unreadable=[row.ticker for row in converted.set_aside][:5],
                    without_event=[w.ticker for w in wires if w.ticker not in placed][:5],
                )
            return await _write(connection, rows, list(events))

        try:
            return await in_transaction(self._pool, attempt)
        except REFUSED as error:
            # One row's fault: it is found by halving, and the others are written.
            if len(wires) == 1:
                _refused("market", wires[0].ticker, error)
                return Mirrored()
            middle = len(wires) // 2
            first = await self.markets(wires[:middle], asked_at)
            return first.and_(await self.markets(wires[middle:], asked_at))

    async def fetch_events(self, tickers: Iterable[str]) -> set[str]:
        """Read events over REST and write them; those that the exchange knows."""
        found: set[str] = set()
        for chunk in chunks(sorted(ticker for ticker in tickers if is_listable(ticker))):
            async for page in self._rest.events(tickers=chunk):
                found |= await self.events(page.items)
        # The listing leaves multivariate events out; single reads know them.
        for ticker in sorted(set(tickers) - found):
            try:
                event = await self._rest.event(ticker, with_nested_markets=False)
            except NotFoundError:
                continue
            except UNREADABLE as error:
                self._give_up(ticker, error)
                metrics.ERRORS.labels("event_set_aside").inc()
                log.warning("event rejected", ticker=ticker, error=str(error))
                continue
            found |= await self.events([event])
        return found

    async def events(self, wires: Sequence[WireEvent]) -> set[str]:
        """Write events as REST told them; those that could be read."""
        told: list[models.Event] = []
        for wire in wires:
            try:
                told.append(convert.event(wire))
            except BadFieldError as error:
                metrics.ERRORS.labels("event_set_aside").inc()
                log.warning("event rejected", ticker=wire.event_ticker, error=str(error))
        await self._complete_series({row.series_ticker for row in told} - {""})
        tickers = sorted(row.event_ticker for row in told)

        async def attempt(connection: Connection) -> set[str]:
            await add_series(connection, {row.series_ticker for row in told} - {""})
            stored = await lock_events(connection, tickers)
            # One whose series cannot be read keeps the stored one, or has no place.
            rows = [row for row in told if row.series_ticker or row.event_ticker in stored]
            _tell_of_fields("event", ((row.event_ticker, row) for row in told))
            given = {"rows": encode_read(rows)}
            await connection.execute(MIRROR_EVENTS, given)
            await connection.execute(ADD_EVENTS, given)
            return {row.event_ticker for row in rows}

        try:
            return await in_transaction(self._pool, attempt) if told else set()
        except REFUSED as error:
            if len(wires) == 1:
                _refused("event", wires[0].event_ticker, error)
                return set()
            middle = len(wires) // 2
            return await self.events(wires[:middle]) | await self.events(wires[middle:])

    async def _complete_series(self, tickers: set[str]) -> None:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(queries.complete_already, [sorted(tickers)])
            complete = {ticker for (ticker,) in await cursor.fetchall()}
        rows = []
        for ticker in sorted(tickers - complete):
            try:
                rows.append(convert.series(await self._rest.one_series(ticker)))
            except (NotFoundError, *UNREADABLE) as error:
                self._give_up(ticker, error)
                metrics.ERRORS.labels("series_set_aside").inc()
                log.warning("series stays a stub", series=ticker, error=str(error))
        _tell_of_fields("series", ((row.ticker, row) for row in rows))
        for row in rows:
            try:
                async with self._pool.connection() as connection:
                    await connection.execute(COMPLETE_SERIES, {"rows": encode_read([row])})
            except REFUSED as error:
                _refused("series", row.ticker, error)

    def _give_up(self, ticker: str, error: Exception) -> None:
        """Raise an error that may pass; one reply that stays broken keeps nothing else waiting."""
        if isinstance(error, BrokenReplyError):
            if len(self._broken) > _MOST_BROKEN:
                self._broken.clear()
            self._broken[ticker] += 1
            if self._broken[ticker] < BELIEVED_BROKEN:
                raise error

    async def _known_events(self, tickers: Sequence[str]) -> set[str]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(queries.series_of_events, [list(tickers)])
            return {ticker for ticker, _ in await cursor.fetchall()}


async def _stored_parents(connection: Connection, wires: Sequence[WireMarket]) -> dict[str, str]:
    """The stored events of those markets whose own word for it cannot be read."""
    lost = [wire.ticker for wire in wires if ticker_fault(wire.event_ticker)]
    if not lost:
        return {}
    cursor = await connection.execute(queries.locate_markets, [lost])
    return {ticker: event for ticker, event, _ in await cursor.fetchall()}


def _refused(entity: str, ticker: str | None, error: Exception) -> None:
    metrics.ERRORS.labels(f"{entity}_set_aside").inc()
    log.warning("PostgreSQL refuses a row", entity=entity, ticker=ticker, error=str(error).strip())


def _tell_of_fields(entity: str, rows: Iterable[tuple[str, models.ReadRow]]) -> None:
    for ticker, row in rows:
        if row.rejected:
            reasons = {field.field: field.reason for field in row.rejected}
            log.warning("fields cannot be read", entity=entity, ticker=ticker, fields=reasons)


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


def is_listable(ticker: str) -> bool:
    """Whether a listing can be asked for it; a comma would ask for two others."""
    return "," not in ticker


def chunks(tickers: Sequence[str]) -> Iterable[Sequence[str]]:
    """As many tickers as one request may name."""
    for start in range(0, len(tickers), MAX_TICKERS):
        yield tickers[start : start + MAX_TICKERS]
