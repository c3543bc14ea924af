"""Rows into PostgreSQL: staged, judged, and written only where they differ.

A batch is one transaction: COPY into a temporary table, an anti-join that finds what differs, locks
in one order (docs/architecture.md, decision 13), then insert and update. A row that the database
refuses is found by halving its batch, and written without the field at fault or rejected; the
others are written. Rows with unreadable fields keep what is stored there: they are a batch of their
own, so that the others need not ask.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self, TypeVar

import msgspec
import psycopg
import structlog
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.connections.clock import CLOCK
from ssmd_common.connections.loaders import forgive_values
from ssmd_common.connections.rights import require_rights
from ssmd_common.connections.session import Session
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.models import Market, ReadRow, Series, SeriesFee
from ssmd_kalshi.pages import SetAside
from ssmd_sync import metrics, statements
from ssmd_sync.batches import SeenEvent, newest
from ssmd_sync.refusals import REFUSED, mended, rejected_whole
from ssmd_sync.rendering import renderer
from ssmd_sync.statements import EVENTS, MARKETS, QUERIES, SERIES, Statements, Table
from ssmd_sync.written import RejectedIn, Written

log = structlog.get_logger(__name__)

R = TypeVar("R", bound=ReadRow)

ATTEMPTS: Final = 5
"""Of a batch that loses a deadlock: ours come in one order, an operator's statement may not."""

WORTH_A_LOOK: Final = 1000
"""Rows of a batch from which on it is asked first whether all of them are new."""

_RENDER: Final = {
    table.name: {keeping: renderer(table, keeping=keeping) for keeping in (False, True)}
    for table in (SERIES, EVENTS, MARKETS)
}
_FEE: Final = msgspec.structs.astuple

_AGAIN: Final = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


@dataclass(frozen=True, slots=True)
class Watermark:
    """A resume point, moved in the transaction of the data that it stands for."""

    name: str
    at: datetime


class Store:
    """One writing session: a connection and its temporary tables. Use it from one task."""

    def __init__(self, connection: Session) -> None:
        self.connection = connection
        self._column_types: list[tuple[Any, ...]] = []

    @classmethod
    async def on(cls, connection: Session) -> Self:
        """A store on an autocommit connection.

        Raises:
            ConfigurationError: the role lacks a right.
        """
        await require_rights(connection, "sync")
        await forgive_values(connection)
        # A plan that a migration outdates would be an error once; few statements here are small.
        connection.prepare_threshold = None
        await connection.execute("SET client_min_messages = warning")
        store = cls(connection)
        await store.follow_schema()
        return store

    async def follow_schema(self) -> None:
        """Make the staging tables what the published tables are now; call it before each run."""
        column_types = await self._rows(QUERIES.column_types)
        if column_types != self._column_types:
            async with self.connection.transaction():
                await self._run(QUERIES.drop_staging)
                await self._run(statements.session_setup())
            self._column_types = column_types

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: SecretStr, application: str, budget_seconds: float
    ) -> AsyncIterator[Self]:
        connection = await postgres.connect(url, application, budget_seconds=budget_seconds)
        async with connection:
            if connection.refuses_writes is not None:
                raise UpstreamUnavailable(connection.refuses_writes)
            yield await cls.on(connection)

    async def write_series(
        self, rows: Iterable[Series], watermarks: Sequence[Watermark] = ()
    ) -> Written:
        return await self._write(SERIES, newest(rows, "ticker"), self._series, watermarks)

    async def write_events(
        self, rows: Iterable[SeenEvent], watermarks: Sequence[Watermark] = ()
    ) -> Written:
        return await self._write(EVENTS, newest(rows, "event_ticker"), self._events, watermarks)

    async def write_markets(
        self, rows: Iterable[Market], watermarks: Sequence[Watermark] = ()
    ) -> Written:
        """Write the markets whose events are stored; the others come back as orphans, and then the
        watermarks stay: what they stand for is not all there."""
        return await self._write(MARKETS, newest(rows, "ticker"), self._markets, watermarks)

    async def write_fees(self, schedules: Mapping[str, Sequence[SeriesFee]]) -> Written:
        """Make each series' schedule what is given, whatever it was."""
        try:
            result = await self._fees(schedules)
        except REFUSED as error:
            tickers = list(schedules)
            if len(tickers) == 1:
                rejected = rejected_whole("series_fees", tickers[0], error, schedules)
                return Written(set_aside=[rejected])
            half = len(tickers) // 2
            result = await self.write_fees({t: schedules[t] for t in tickers[:half]})
            result.add(await self.write_fees({t: schedules[t] for t in tickers[half:]}))
            return result
        metrics.rows("series_fees", result)
        return result

    async def _fees(self, schedules: Mapping[str, Sequence[SeriesFee]]) -> Written:
        rows = [row for schedule in schedules.values() for row in schedule]
        async with self._writing():
            await self._stage_tickers(schedules)
            copy = statements.copy_into("staged_fees", statements.FEE_COLUMNS)
            await self._copy(copy, map(_FEE, rows))
            # In this order no two steps overlap even in passing.
            result = Written(deleted=await self._run(QUERIES.drop_fees))
            result.updated = await self._run(QUERIES.update_fees)
            result.inserted = await self._run(statements.with_fee_columns(QUERIES.insert_fees))
        result.unchanged = len(rows) - result.inserted - result.updated
        return result

    async def delete_markets(self, tickers: Sequence[str], began_at: datetime) -> Written:
        """Soft-delete markets that nobody has touched since `began_at`."""
        async with self._writing():
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
        async with self._writing():
            await self._stage_tickers(tickers)
            await self._run(QUERIES.lock_doomed_events)
            result = Written(deleted=await self._run(QUERIES.delete_events))
        metrics.rows("events", result)
        return result

    async def retire_series(self, tickers: Sequence[str]) -> Written:
        """Mark series as not listed any more."""
        async with self._writing():
            await self._stage_tickers(tickers)
            result = Written(deleted=await self._run(QUERIES.retire_series))
        metrics.rows("series", result)
        return result

    # --- one batch, in a transaction that is already open -------------------------------------

    async def _series(self, rows: Sequence[Series]) -> Written:
        run = await self._stage(SERIES, rows)
        if not await self._run(run.mark):
            return Written(unchanged=len(rows))
        return await self._apply(run, len(rows), QUERIES.lock_series)

    async def _events(self, rows: Sequence[SeenEvent]) -> Written:
        run = await self._stage(EVENTS, rows)
        if not await self._run(run.mark):
            return Written(unchanged=len(rows))
        await self._run(QUERIES.add_series_stubs)
        return await self._apply(run, len(rows), QUERIES.lock_events)

    async def _markets(self, rows: Sequence[Market]) -> Written:
        if await self._can_append(rows):
            await self._copy(MARKETS.append(), map(_RENDER[MARKETS.name][False], rows))
            await self._run(QUERIES.settle_events)
            return Written(inserted=len(rows))
        run = await self._stage(MARKETS, rows)
        changed = await self._run(run.mark)
        if not changed:
            return Written(unchanged=len(rows))
        orphans = {ticker for (ticker,) in await self._rows(QUERIES.orphans)}
        count = len(rows) - len(orphans)
        if len(orphans) == changed:
            return Written(unchanged=count, orphans=orphans)
        result = await self._apply(run, count, QUERIES.lock_parents)
        await self._run(QUERIES.settle_events)
        result.orphans = orphans
        return result

    async def _stage(self, table: Table, rows: Sequence[ReadRow]) -> Statements:
        """Rows of which all have unreadable fields, or none; and what writes them."""
        keeping = bool(rows[0].rejected)
        run = statements.writing(table.name, keeping=keeping)
        await self._copy(run.stage, map(_RENDER[table.name][keeping], rows))
        return run

    async def _can_append(self, rows: Sequence[Market]) -> bool:
        """Whether there is nothing to judge: no row is stored and every parent is; then the parents
        are locked. A writer that is faster makes the COPY fail, and the batch is judged after all.
        """
        if len(rows) < WORTH_A_LOOK or any(row.status is None or row.rejected for row in rows):
            return False
        tickers = [row.ticker for row in rows]
        if await self._rows(QUERIES.any_stored, {"tickers": tickers}):
            return False
        parents = {(row.event_ticker, row.series_ticker) for row in rows}
        events, series = zip(*sorted(parents), strict=True)
        parameters = {"events": list(events), "series": list(series)}
        return await self._run(QUERIES.lock_known_parents, parameters) == len(parents)

    async def _apply(self, run: Statements, count: int, lock: Any) -> Written:
        await self._run(lock)
        inserted = await self._run(run.insert)
        updated = 0
        if inserted < count:
            updated = await self._run(run.update)
        return Written(inserted, updated, count - inserted - updated)

    # --- how ----------------------------------------------------------------------------------

    async def _write(
        self,
        table: Table,
        rows: Sequence[R],
        batch: Callable[[Sequence[R]], Awaitable[Written]],
        watermarks: Sequence[Watermark],
    ) -> Written:
        keeping, homeless = await self._with_a_place(table, [row for row in rows if row.rejected])
        plain = [row for row in rows if not row.rejected] if keeping or homeless else rows
        result = await self._halving(table, plain, batch, () if keeping else watermarks)
        if keeping:
            marks = () if result.orphans else watermarks
            result.add(await self._halving(table, keeping, batch, marks))
        result.set_aside += homeless
        metrics.rows(table.name, result)
        return result

    async def _with_a_place(
        self, table: Table, rows: Sequence[R]
    ) -> tuple[list[R], list[SetAside]]:
        """A row whose parent is unreadable keeps the stored one; one that is not stored has none
        and is rejected whole."""
        unread = {getattr(row, table.key) for row in rows if table.parent in row.kept}
        if not unread:
            return list(rows), []
        query = table.fill(QUERIES.stored_tickers)
        homeless = unread - {t for (t,) in await self._rows(query, {"tickers": list(unread)})}
        rejected = [
            SetAside(
                getattr(row, table.key),
                f"{table.name}: its {field.field} {field.reason}",
                field.raw,
            )
            for row in rows
            for field in row.rejected
            if getattr(row, table.key) in homeless and table.parent in field.columns
        ]
        return [row for row in rows if getattr(row, table.key) not in homeless], rejected

    async def _halving(
        self,
        table: Table,
        rows: Sequence[R],
        batch: Callable[[Sequence[R]], Awaitable[Written]],
        watermarks: Sequence[Watermark],
    ) -> Written:
        try:
            result = await self._transaction(table, rows, batch, watermarks)
            result.rejected += [
                RejectedIn(str(getattr(row, table.key)), field)
                for row in rows
                for field in row.rejected
                if getattr(row, table.key) not in result.orphans
            ]
            return result
        except REFUSED as error:
            if not rows:
                raise
            if len(rows) == 1:
                if (row := mended(table, rows[0], error)) is not None:
                    return await self._halving(table, [row], batch, watermarks)
                result = await self._transaction(table, [], batch, watermarks)
                ticker = str(getattr(rows[0], table.key))
                result.set_aside.append(rejected_whole(table.name, ticker, error, rows[0]))
                return result
        half = len(rows) // 2
        result = await self._halving(table, rows[:half], batch, ())
        rest = await self._halving(table, rows[half:], batch, () if result.orphans else watermarks)
        result.add(rest)
        return result

    async def _transaction(
        self,
        table: Table,
        rows: Sequence[R],
        batch: Callable[[Sequence[R]], Awaitable[Written]],
        watermarks: Sequence[Watermark],
    ) -> Written:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._writing():
                    result = await batch(rows) if rows else Written()
                    for watermark in () if result.orphans else watermarks:
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

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """A transaction that writes what our clock stamped.

        Raises:
            ClockDiffers: nothing may be written by our clock now.
        """
        async with self.connection.transaction():
            await CLOCK.require(self.connection)
            yield

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
