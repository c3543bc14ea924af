"""Rows of the tables, read and written inside a transaction that takes their locks in order."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
import psycopg
import structlog
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from ssmd_common.connections.clock import CLOCK
from ssmd_common.models import ReadRow
from ssmd_common.sql import Queries
from ssmd_common.tickers import is_game
from ssmd_lifecycle import metrics
from ssmd_lifecycle.transitions import EventState

log = structlog.get_logger(__name__)

queries: Final = Queries("ssmd_lifecycle")

Connection = psycopg.AsyncConnection[Any]
Pool = AsyncConnectionPool[Connection]
T = TypeVar("T")

MAX_TRIES: Final = 8


class RowAppearedError(Exception):
    """Another writer inserted a row that this transaction took for absent; the next try sees it."""


RETRIED: Final = (
    RowAppearedError,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    # A parent that was there when it was looked up and is not now.
    psycopg.errors.ForeignKeyViolation,
    # A migration changed the type of a column that a prepared statement returns; the rollback
    # forgets the statement.
    psycopg.errors.FeatureNotSupported,
)


REFUSED: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
)
"""What PostgreSQL does not take, however often it is tried: one row's fault, not its batch's."""


@asynccontextmanager
async def writing(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for one transaction of what our clock stamped.

    Raises:
        ClockDiffers: nothing may be written by our clock now.
    """
    async with pool.connection() as connection, connection.transaction():
        await CLOCK.require(connection)
        yield connection


async def in_transaction(pool: Pool, attempt: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `attempt` in a transaction; again where it lost a race that the next try wins."""
    for tries in range(1, MAX_TRIES + 1):
        try:
            async with writing(pool) as connection:
                return await attempt(connection)
        except RETRIED as error:
            metrics.ERRORS.labels("transaction_retried").inc()
            log.info("transaction is tried again", tries=tries, error=type(error).__name__)
            if tries == MAX_TRIES:
                raise
    raise AssertionError


class LifecycleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `market_lifecycle_events`, without the columns that the table fills."""

    market_ticker: str | None
    event_ticker: str | None
    event_type: str
    open_ts: datetime | None = None
    close_ts: datetime | None = None
    determined_ts: datetime | None = None
    settled_ts: datetime | None = None
    result: str | None = None
    metadata: msgspec.Raw
    sent_at: datetime | None = None
    received_at: datetime
    dedupe_key: str


async def insert_rows(connection: Connection, rows: Sequence[LifecycleRow]) -> set[str]:
    """Insert rows of `market_lifecycle_events`; the dedupe keys of those that were not there."""
    if not rows:
        return set()
    cursor = await connection.execute(queries.insert_messages, {"rows": encode_rows(rows)})
    return {key for (key,) in await cursor.fetchall()}


async def replace_rows(connection: Connection, rows: Sequence[LifecycleRow]) -> set[str]:
    """Put late messages' rows in the place of those that REST was owed; their dedupe keys."""
    if not rows:
        return set()
    cursor = await connection.execute(queries.replace_owed, {"rows": encode_rows(rows)})
    return {key for (key,) in await cursor.fetchall()}


async def add_series(connection: Connection, tickers: Iterable[str]) -> None:
    """Stubs for series that have no row."""
    names = sorted(set(tickers))
    if names:
        await connection.execute(
            queries.add_series_stubs, {"tickers": names, "is_game": [is_game(t) for t in names]}
        )


async def lock_events(connection: Connection, tickers: Sequence[str]) -> dict[str, EventState]:
    """The events that are there, locked in ticker order."""
    async with connection.cursor(row_factory=class_row(EventState)) as cursor:
        await cursor.execute(queries.lock_events, [list(tickers)])
        return {event.event_ticker: event for event in await cursor.fetchall()}


def encode_rows(rows: Sequence[Any]) -> str:
    """Rows as one JSON array for jsonb_populate_recordset: exact decimals as text."""
    return msgspec.json.encode(rows).decode()


def encode_read(rows: Iterable[ReadRow]) -> str:
    """Rows of REST likewise, each without the columns that could not be read."""
    documents = []
    for row in rows:
        kept = row.kept
        documents.append(
            {name: getattr(row, name) for name in row.columns() if name not in kept}
            if kept
            else row
        )
    return msgspec.json.encode(documents).decode()
