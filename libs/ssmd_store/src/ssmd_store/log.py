"""Rows of `market_lifecycle_events`, inside a transaction of their effects."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString

from ssmd_common.sql import Queries
from ssmd_store.messages import encode_rows
from ssmd_store.parents import Connection
from ssmd_store.states import LifecycleRow

QUERIES: Final = Queries("ssmd_store", "log.sql")


async def insert(connection: Connection, rows: Sequence[LifecycleRow]) -> set[str]:
    """Insert rows; the dedupe keys of those that were not there."""
    return await _written(connection, QUERIES.insert_rows, rows)


async def replace_backfilled(connection: Connection, rows: Sequence[LifecycleRow]) -> set[str]:
    """Put late messages' rows in the place of backfilled ones; their dedupe keys."""
    return await _written(connection, QUERIES.replace_backfilled, rows)


async def insert_backfilled(connection: Connection, rows: Sequence[LifecycleRow]) -> int:
    """Insert rows of what only REST reported, where no row has it; how many they were."""
    return len(await _written(connection, QUERIES.insert_backfilled, rows))


async def free_keys(connection: Connection, keys: Sequence[str]) -> None:
    """Give rows of transitions that are reversed other keys: theirs are needed again."""
    await connection.execute(QUERIES.free_keys, {"keys": list(keys)})


async def expire(connection: Connection, before: datetime, limit: int) -> int:
    """Delete at most `limit` rows that were received before a time; how many they were."""
    cursor = await connection.execute(QUERIES.expire_rows, {"before": before, "limit": limit})
    return cursor.rowcount


async def _written(
    connection: Connection, query: LiteralString, rows: Sequence[LifecycleRow]
) -> set[str]:
    if not rows:
        return set()
    cursor = await connection.execute(query, {"rows": encode_rows(rows)})
    return {key for (key,) in await cursor.fetchall()}
