"""Transactions of lifecycle: what another writer was in the way of is tried again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from ssmd_common.connections.clock import CLOCK
from ssmd_common.sql import Queries
from ssmd_lifecycle import metrics
from ssmd_store.messages import RowAppearedError
from ssmd_store.parents import Connection

log = structlog.get_logger(__name__)

queries: Final = Queries("ssmd_lifecycle")

Pool = AsyncConnectionPool[Connection]
T = TypeVar("T")

MAX_TRIES: Final = 8


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
