"""Rows into PostgreSQL: staged, judged, and written only where they differ.

A batch is one transaction: COPY into a temporary table, an anti-join that finds what differs, locks
in the one order (docs/architecture.md § 13), then insert and update. A row that the database
refuses is found by halving its batch and set aside; the others are written.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

import msgspec
import psycopg
import structlog
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.models import Event, Market, Row, Series, SeriesFee
from ssmd_kalshi.pages import SetAside
from ssmd_sync import metrics, statements
from ssmd_sync.batches import newest
from ssmd_sync.statements import EVENTS, MARKETS, QUERIES, SERIES, Table

log = structlog.get_logger(__name__)

ATTEMPTS: Final = 5
"""Of a batch that loses a deadlock: ours come in one order, an operator's statement may not."""

_REFUSED: Final = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)
_AGAIN: Final = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


@dataclass(slots=True)
class Written:
    """What became of a batch: each row is counted once, or set aside, or an orphan."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    set_aside: list[SetAside] = field(default_factory=list)
    orphans: set[str] = field(default_factory=set)
    """Tickers of markets whose event is not stored: write the event, then these again."""

    def add(self, other: "Written") -> None:
        self.inserted += other.inserted
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.deleted += other.deleted
        self.set_aside += other.set_aside
        self.orphans |= other.orphans


@dataclass(frozen=True, slots=True)
class Watermark:
    """A resume point, moved in the transaction of the data that it stands for."""

    name: str
    at: datetime


class Store:
    """One writing session: a connection and its temporary tables. Use it from one task."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection

    @classmethod
    async def on(cls, connection: psycopg.AsyncConnection[Any]) -> Self:
        """A store on an autocommit connection."""
        await connection.execute("SET client_min_messages = warning")
        await connection.execute(statements.session_setup())
        return cls(connection)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: SecretStr, application: str, budget_seconds: float
    ) -> AsyncIterator[Self]:
        connection = await postgres.connect(url, application, budget_seconds=budget_seconds)
        async with connection:
            yield await cls.on(connection)

    async def write_series(
        self, rows: Iterable[Series], watermarks: Sequence[Watermark] = ()
    ) -> Written:
        return await self._write(SERIES, newest(rows, "ticker"), _plain, self._series, watermarks)

    async def write_events(
        self, rows: Iterable[Event], observed_at: datetime, watermarks: Sequence[Watermark] = ()
    ) -> Written:
        """`observed_at` is when the page with these events was asked for."""

        def values(row: Row) -> list[Any]:
            return [*msgspec.structs.astuple(row), observed_at]

        return await self._write(
            EVENTS, newest(rows, "event_ticker"), values, self._events, watermarks
        )

    async def write_markets(
        self, rows: Iterable[Market], watermarks: Sequence[Watermark] = ()
    ) -> Written:
        """Write the markets whose events are stored; the others come back as orphans."""
        return await self._write(
            MARKETS, newest(rows, "ticker"), _market, self._markets, watermarks
        )

    async def write_fees(self, schedules: Mapping[str, Sequence[SeriesFee]]) -> Written:
        """Make each series' schedule what is given, whatever it was."""
        try:
            result = await self._fees(schedules)
        except _REFUSED as error:
            tickers = list(schedules)
            if len(tickers) == 1:
                return Written(set_aside=[_refused("series_fees", tickers[0], error, schedules)])
            half = len(tickers) // 2
            result = await self.write_fees({t: schedules[t] for t in tickers[:half]})
            result.add(await self.write_fees({t: schedules[t] for t in tickers[half:]}))
            return result
        metrics.rows("series_fees", result)
        return result

    async def _fees(self, schedules: Mapping[str, Sequence[SeriesFee]]) -> Written:
        rows = [row for schedule in schedules.values() for row in schedule]
        async with self.connection.transaction():
            await self._stage_tickers(schedules)
            copy = statements.copy_into("staged_fees", statements.FEE_COLUMNS)
            await self._copy(copy, map(msgspec.structs.astuple, rows))
            # In this order no two steps overlap even in passing.
            result = Written(deleted=await self._run(QUERIES.drop_fees))
            result.updated = await self._run(QUERIES.update_fees)
            result.inserted = await self._run(statements.with_fee_columns(QUERIES.insert_fees))
        result.unchanged = len(rows) - result.inserted - result.updated
        return result

    async def delete_markets(self, tickers: Sequence[str], began_at: datetime) -> Written:
        """Soft-delete markets that nobody has touched since `began_at`."""
        async with self.connection.transaction():
            await self._stage_tickers(tickers)
            await self._run(QUERIES.mark_doomed_markets, {"began_at": began_at})
            await self._run(QUERIES.lock_parents)
            deleted = await self._run(QUERIES.delete_markets, {"began_at": began_at})
            await self._run(QUERIES.settle_events)
        result = Written(deleted=deleted)
        metrics.rows("markets", result)
        return result

    async def delete_events(self, tickers: Sequence[str]) -> Written:
        """Soft-delete events that have no market any more."""
        async with self.connection.transaction():
            await self._stage_tickers(tickers)
            await self._run(QUERIES.lock_doomed_events)
            result = Written(deleted=await self._run(QUERIES.delete_events))
        metrics.rows("events", result)
        return result

    async def retire_series(self, tickers: Sequence[str]) -> Written:
        """Mark series as not listed any more."""
        async with self.connection.transaction():
            await self._stage_tickers(tickers)
            result = Written(deleted=await self._run(QUERIES.retire_series))
        metrics.rows("series", result)
        return result

    # --- one batch, in a transaction that is already open -------------------------------------

    async def _series(self, count: int) -> Written:
        if not await self._run(QUERIES.mark_changed_series):
            return Written(unchanged=count)
        return await self._apply(SERIES, count, QUERIES.lock_series)

    async def _events(self, count: int) -> Written:
        if not await self._run(QUERIES.mark_changed_events):
            return Written(unchanged=count)
        await self._run(QUERIES.add_series_stubs)
        return await self._apply(EVENTS, count, QUERIES.lock_events)

    async def _markets(self, count: int) -> Written:
        changed = await self._run(QUERIES.mark_changed_markets)
        if not changed:
            return Written(unchanged=count)
        orphans = {ticker for (ticker,) in await self._rows(QUERIES.orphans)}
        if len(orphans) == changed:
            return Written(unchanged=count - len(orphans), orphans=orphans)
        result = await self._apply(MARKETS, count - len(orphans), QUERIES.lock_parents)
        await self._run(QUERIES.settle_events)
        result.orphans = orphans
        return result

    async def _apply(self, table: Table, count: int, lock: Any) -> Written:
        await self._run(lock)
        inserted = await self._run(table.fill(QUERIES.insert_rows))
        updated = 0
        if inserted < count:
            updated = await self._run(table.fill(QUERIES.update_rows))
        return Written(inserted, updated, count - inserted - updated)

    # --- how ----------------------------------------------------------------------------------

    async def _write(
        self,
        table: Table,
        rows: Sequence[Row],
        values: Callable[[Any], Sequence[Any]],
        batch: Callable[[int], Awaitable[Written]],
        watermarks: Sequence[Watermark],
    ) -> Written:
        result = await self._halving(table, rows, values, batch, watermarks)
        metrics.rows(table.name, result)
        return result

    async def _halving(
        self,
        table: Table,
        rows: Sequence[Row],
        values: Callable[[Any], Sequence[Any]],
        batch: Callable[[int], Awaitable[Written]],
        watermarks: Sequence[Watermark],
    ) -> Written:
        try:
            return await self._transaction(table, rows, values, batch, watermarks)
        except _REFUSED as error:
            if not rows:
                raise
            if len(rows) == 1:
                for_watermarks = await self._transaction(table, [], values, batch, watermarks)
                ticker = str(getattr(rows[0], table.key))
                for_watermarks.set_aside.append(_refused(table.name, ticker, error, rows[0]))
                return for_watermarks
        half = len(rows) // 2
        result = await self._halving(table, rows[:half], values, batch, ())
        result.add(await self._halving(table, rows[half:], values, batch, watermarks))
        return result

    async def _transaction(
        self,
        table: Table,
        rows: Sequence[Row],
        values: Callable[[Any], Sequence[Any]],
        batch: Callable[[int], Awaitable[Written]],
        watermarks: Sequence[Watermark],
    ) -> Written:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self.connection.transaction():
                    result = Written()
                    if rows:
                        await self._copy(table.copy(), map(values, rows))
                        result = await batch(len(rows))
                    for watermark in watermarks:
                        await self._run(
                            QUERIES.move_watermark,
                            {"name": watermark.name, "watermark": watermark.at},
                        )
                return result
            except _AGAIN as error:
                if attempt == ATTEMPTS:
                    raise
                log.warning("batch is tried again", table=table.name, error=str(error))
                await asyncio.sleep(random.uniform(0, 0.1 * attempt))  # noqa: S311
        raise AssertionError("the last attempt returns or raises")

    async def _copy(self, statement: Any, rows: Iterable[Sequence[Any]]) -> None:
        async with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                await copy.write_row(row)

    async def _stage_tickers(self, tickers: Iterable[str]) -> None:
        copy = statements.copy_into("staged_tickers", ("ticker",))
        await self._copy(copy, ((ticker,) for ticker in tickers))

    async def _run(self, query: Any, parameters: Any = None) -> int:
        """Rows that a statement wrote."""
        return (await self.connection.execute(query, parameters)).rowcount

    async def _rows(self, query: Any, parameters: Any = None) -> list[tuple[Any, ...]]:
        return await (await self.connection.execute(query, parameters)).fetchall()


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _positions(table: Table) -> tuple[int, ...]:
    return tuple(i for i, name in enumerate(table.columns) if name in statements.JSON_COLUMNS)


def _encoder(table: Table) -> Callable[[Any], list[Any]]:
    positions = _positions(table)

    def values(row: Row) -> list[Any]:
        fields = list(msgspec.structs.astuple(row))
        for i in positions:
            fields[i] = _json(fields[i])
        return fields

    return values


_plain = _encoder(SERIES)
_market = _encoder(MARKETS)


def _refused(table: str, ticker: str, error: Exception, row: object) -> SetAside:
    reason = str(error).partition("\n")[0]
    log.warning("row set aside", table=table, reason=reason)
    return SetAside(ticker, f"{table}: {reason}", repr(row)[:2000].replace("\0", ""))
