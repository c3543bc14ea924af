"""Pages of REST into PostgreSQL: staged, judged, and written only where they differ.

A batch is one transaction: COPY into a temporary table, an anti-join that finds what differs, locks
in the one order (`parents`), then insert and update. A row that the database refuses is found by
halving its batch, and written without the field at fault or rejected; the others are written. Rows
with unreadable fields keep what is stored there: they are a batch of their own, so that the others
need not ask.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Self, TypeVar

import psycopg
import structlog
from pydantic import SecretStr

from ssmd_common.connections import postgres
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.models import Collection, Market, ReadRow, RejectedRow, Series, SeriesFee
from ssmd_store import parents, statements
from ssmd_store.messages import encode_rows
from ssmd_store.multivariate import without_quotes
from ssmd_store.observed import SeenEvent, newest
from ssmd_store.refusals import REFUSED, mended, rejected_whole
from ssmd_store.rendering import renderer
from ssmd_store.staging import Staging
from ssmd_store.statements import EVENTS, MARKETS, QUERIES, SERIES, Statements, Table
from ssmd_store.written import RejectedIn, Written

log = structlog.get_logger(__name__)

R = TypeVar("R", bound=ReadRow)

Then = Callable[[], Awaitable[object]]
"""What its caller writes on the store's connection, in the transaction of the last of the rows, if
all of them are stored or rejected: such as the resume point that they stand for."""

ATTEMPTS: Final = 5
"""Of a batch that loses a deadlock: ours come in one order, an operator's statement may not."""

WORTH_A_LOOK: Final = 1000
"""Rows of a batch from which on it is asked first whether all of them are new."""

_RENDER: Final = {
    table.name: {keeping: renderer(table, keeping=keeping) for keeping in (False, True)}
    for table in (SERIES, EVENTS, MARKETS)
}
_LOCK: Final = {
    table.name: parents.locking(table.name, table.key) for table in (SERIES, EVENTS, MARKETS)
}

_WRITE_COLLECTIONS: Final = statements.writing_collections()
_AGAIN: Final = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


class Store(Staging):
    """Writes pages, and what follows from their absence."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: SecretStr, application: str, budget_seconds: float, *, service: str = "sync"
    ) -> AsyncIterator[Self]:
        """A connection of its own, for that service's work.

        Raises:
            UpstreamUnavailable: there is none, or it takes no writes.
            ConfigurationError: the role lacks a right that the service needs.
        """
        connection = await postgres.connect(url, application, budget_seconds=budget_seconds)
        async with connection:
            if connection.refuses_writes is not None:
                raise UpstreamUnavailable(connection.refuses_writes)
            yield await cls.on(connection, service)

    async def write_series(self, rows: Iterable[Series], then: Then | None = None) -> Written:
        return await self._write(SERIES, newest(rows, "ticker"), self._series, then)

    async def write_events(self, rows: Iterable[SeenEvent], then: Then | None = None) -> Written:
        return await self._write(EVENTS, newest(rows, "event_ticker"), self._events, then)

    async def write_markets(self, rows: Iterable[Market], then: Then | None = None) -> Written:
        """Write the markets whose events are stored; the others come back as orphans, and then
        nothing is done `then`: what it stands for is not all there."""
        kept = without_quotes(newest(rows, "ticker"))
        return await self._write(MARKETS, kept, self._markets, then)

    async def write_collections(self, rows: Sequence[Collection]) -> Written:
        """Write collections; they have no parents, and nothing follows from them."""
        rows = newest(rows, "collection_ticker")
        try:
            async with self._writing():
                found = await self.fetched(_WRITE_COLLECTIONS, {"rows": encode_rows(rows)})
        except REFUSED as error:
            if len(rows) == 1:
                ticker = rows[0].collection_ticker
                rejected = rejected_whole("multivariate_collections", ticker, error, rows[0])
                return Written(rejected_rows=[rejected])
            half = len(rows) // 2
            result = await self.write_collections(rows[:half])
            result.add(await self.write_collections(rows[half:]))
            return result
        inserted = sum(is_new for (is_new,) in found)
        return Written(inserted, len(found) - inserted, len(rows) - len(found))

    async def write_fees(self, schedules: Mapping[str, Sequence[SeriesFee]]) -> Written:
        """Make each series' schedule what is given, whatever it was."""
        try:
            return await self._fees(schedules)
        except REFUSED as error:
            tickers = list(schedules)
            if len(tickers) == 1:
                rejected = rejected_whole("series_fees", tickers[0], error, schedules)
                return Written(rejected_rows=[rejected])
            half = len(tickers) // 2
            result = await self.write_fees({t: schedules[t] for t in tickers[:half]})
            result.add(await self.write_fees({t: schedules[t] for t in tickers[half:]}))
            return result

    async def delete_markets(self, tickers: Sequence[str], began_at: datetime) -> Written:
        """Soft-delete markets that nobody has touched since `began_at`."""
        doomed = {"tickers": list(tickers), "began_at": began_at}
        async with self._writing():
            events = await self._tickers(QUERIES.parents_of_doomed, doomed)
            await self._lock(EVENTS, events)
            deleted = await self._run(QUERIES.delete_markets, doomed)
            await parents.recompute_events(self.connection, events)
        return Written(deleted=deleted)

    async def delete_events(self, tickers: Sequence[str]) -> Written:
        """Soft-delete events that have no market any more."""
        async with self._writing():
            await self._lock(EVENTS, tickers)
            deleted = await self._run(QUERIES.delete_events, {"tickers": list(tickers)})
        return Written(deleted=deleted)

    async def retire_series(self, tickers: Sequence[str]) -> Written:
        """Mark series as not listed any more."""
        async with self._writing():
            await self._lock(SERIES, tickers)
            deleted = await self._run(QUERIES.retire_series, {"tickers": list(tickers)})
        return Written(deleted=deleted)

    # --- one batch, in a transaction that is already open -------------------------------------

    async def _series(self, rows: Sequence[Series]) -> Written:
        run = await self._stage(SERIES, rows)
        if not await self._run(run.mark):
            return Written(unchanged=len(rows))
        await self._lock(SERIES, await self._marked(SERIES, "changed"))
        return await self._apply(run, len(rows))

    async def _events(self, rows: Sequence[SeenEvent]) -> Written:
        run = await self._stage(EVENTS, rows)
        if not await self._run(run.mark):
            return Written(unchanged=len(rows))
        named = {row.series_ticker for row in rows if "series_ticker" not in row.kept}
        await parents.add_series(self.connection, named)
        await self._lock(EVENTS, await self._marked(EVENTS, "changed"))
        return await self._apply(run, len(rows))

    async def _markets(self, rows: Sequence[Market]) -> Written:
        if events := await self._known_parents(rows):
            await self._copy(MARKETS.append(), map(_RENDER[MARKETS.name][False], rows))
            await parents.recompute_events(self.connection, events)
            return Written(inserted=len(rows))
        run = await self._stage(MARKETS, rows)
        changed = await self._run(run.mark)
        if not changed:
            return Written(unchanged=len(rows))
        orphans = set(await self._marked(MARKETS, "orphan"))
        count = len(rows) - len(orphans)
        if len(orphans) == changed:
            return Written(unchanged=count, orphans=orphans)
        events = await self._tickers(QUERIES.marked_parents)
        await self._lock(EVENTS, events)
        result = await self._apply(run, count)
        await parents.recompute_events(self.connection, events)
        result.orphans = orphans
        return result

    async def _fees(self, schedules: Mapping[str, Sequence[SeriesFee]]) -> Written:
        rows = [row for schedule in schedules.values() for row in schedule]
        async with self._writing():
            given = {"tickers": list(schedules), "rows": encode_rows(rows)}
            # In this order no two steps overlap even in passing.
            result = Written(deleted=await self._run(QUERIES.drop_fees, given))
            update, insert = map(statements.of_fees, (QUERIES.update_fees, QUERIES.insert_fees))
            result.updated = await self._run(update, given)
            result.inserted = await self._run(insert, given)
        result.unchanged = len(rows) - result.inserted - result.updated
        return result

    async def _stage(self, table: Table, rows: Sequence[ReadRow]) -> Statements:
        """Rows of which all have unreadable fields, or none; and what writes them."""
        keeping = bool(rows[0].rejected)
        run = statements.writing(table.name, keeping=keeping)
        await self._copy(run.stage, map(_RENDER[table.name][keeping], rows))
        return run

    async def _marked(self, table: Table, verdict: str) -> list[str]:
        return await self._tickers(table.fill(QUERIES.marked), {"verdict": verdict})

    async def _lock(self, table: Table, tickers: Sequence[str]) -> None:
        await self._run(_LOCK[table.name], {"tickers": list(tickers)})

    async def _known_parents(self, rows: Sequence[Market]) -> list[str]:
        """The events of a batch of which there is nothing to judge, locked: no row is stored and
        every parent is. A writer that is faster makes the COPY fail, and the batch is judged after
        all. Empty where there is something to judge."""
        if len(rows) < WORTH_A_LOOK or any(row.status is None or row.rejected for row in rows):
            return []
        tickers = [row.ticker for row in rows]
        if await self.fetched(QUERIES.any_stored, {"tickers": tickers}):
            return []
        named = {(row.event_ticker, row.series_ticker) for row in rows}
        events, series = zip(*sorted(named), strict=True)
        parameters = {"events": list(events), "series": list(series)}
        known = await self._tickers(QUERIES.lock_known_parents, parameters)
        return known if len(known) == len(named) else []

    async def _apply(self, run: Statements, count: int) -> Written:
        inserted = await self._run(run.insert)
        result = Written(inserted)
        if inserted < count:
            counted = await self.fetched(run.update)
            result.updated = sum(rows for _, rows in counted)
            result.became = Counter({status: rows for status, rows in counted if status})
        result.unchanged = count - inserted - result.updated
        return result

    # --- how ----------------------------------------------------------------------------------

    async def _write(
        self,
        table: Table,
        rows: Sequence[R],
        batch: Callable[[Sequence[R]], Awaitable[Written]],
        then: Then | None,
    ) -> Written:
        keeping, homeless = await self._with_a_place(table, [row for row in rows if row.rejected])
        plain = [row for row in rows if not row.rejected] if keeping or homeless else rows
        result = await self._halving(table, plain, batch, None if keeping else then)
        if keeping:
            last = None if result.orphans else then
            result.add(await self._halving(table, keeping, batch, last))
        result.rejected_rows += homeless
        return result

    async def _with_a_place(
        self, table: Table, rows: Sequence[R]
    ) -> tuple[list[R], list[RejectedRow]]:
        """A row whose parent is unreadable keeps the stored one; one that is not stored has none
        and is rejected whole."""
        unread = {getattr(row, table.key) for row in rows if table.parent in row.kept}
        if not unread:
            return list(rows), []
        query = table.fill(QUERIES.stored_tickers)
        homeless = unread - set(await self._tickers(query, {"tickers": list(unread)}))
        rejected = [
            RejectedRow(
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
        then: Then | None,
    ) -> Written:
        try:
            result = await self._transaction(table, rows, batch, then)
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
                    return await self._halving(table, [row], batch, then)
                result = await self._transaction(table, [], batch, then)
                ticker = str(getattr(rows[0], table.key))
                result.rejected_rows.append(rejected_whole(table.name, ticker, error, rows[0]))
                return result
        half = len(rows) // 2
        result = await self._halving(table, rows[:half], batch, None)
        rest = await self._halving(table, rows[half:], batch, None if result.orphans else then)
        result.add(rest)
        return result

    async def _transaction(
        self,
        table: Table,
        rows: Sequence[R],
        batch: Callable[[Sequence[R]], Awaitable[Written]],
        then: Then | None,
    ) -> Written:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._writing():
                    result = await batch(rows) if rows else Written()
                    if then is not None and not result.orphans:
                        await then()
                return result
            except _AGAIN as error:
                if attempt == ATTEMPTS:
                    raise
                log.warning("batch is tried again", table=table.name, error=str(error))
                await asyncio.sleep(random.uniform(0, 0.1 * attempt))  # noqa: S311
        raise AssertionError("the last attempt returns or raises")
