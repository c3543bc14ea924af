"""Rows of `market_lifecycle_events`, inside a transaction of their effects."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from psycopg import sql

from ssmd_common.models import LifecycleRow
from ssmd_common.sql import Queries
from ssmd_store.messages import encode_rows
from ssmd_store.parents import Connection
from ssmd_store.statements import listed

QUERIES: Final = Queries("ssmd_store", "log.sql")

_COLUMNS: Final = LifecycleRow.columns()
_SAME: Final = ("market_ticker", "event_ticker", "event_type")
_REPLACED: Final = [name for name in _COLUMNS if name not in _SAME]
INSERT: Final = sql.SQL(QUERIES.insert_rows).format(columns=listed(_COLUMNS)).as_bytes(None)
INSERT_BACKFILLED: Final = (
    sql.SQL(QUERIES.insert_backfilled).format(columns=listed(_COLUMNS)).as_bytes(None)
)
REPLACE_BACKFILLED: Final = (
    sql.SQL(QUERIES.replace_backfilled)
    .format(columns=listed(_REPLACED), given=listed(_REPLACED, "g"))
    .as_bytes(None)
)


async def insert(connection: Connection, rows: Sequence[LifecycleRow]) -> set[str]:
    """Insert rows; the dedupe keys of those that were not there."""
    return await _written(connection, INSERT, rows)


async def replace_backfilled(connection: Connection, rows: Sequence[LifecycleRow]) -> set[str]:
    """Put late messages' rows in the place of backfilled ones; their dedupe keys."""
    return await _written(connection, REPLACE_BACKFILLED, rows)


async def insert_backfilled(connection: Connection, rows: Sequence[LifecycleRow]) -> int:
    """Insert rows of what only REST reported, where no row has it; how many they were."""
    return len(await _written(connection, INSERT_BACKFILLED, rows))


async def free_keys(connection: Connection, keys: Sequence[str]) -> None:
    """Give rows of transitions that are reversed other keys: theirs are needed again."""
    await connection.execute(QUERIES.free_keys, {"keys": list(keys)})


async def expire(connection: Connection, before: datetime, limit: int) -> int:
    """Delete at most `limit` rows that were received before a time; how many they were."""
    cursor = await connection.execute(QUERIES.expire_rows, {"before": before, "limit": limit})
    return cursor.rowcount


async def _written(connection: Connection, query: bytes, rows: Sequence[LifecycleRow]) -> set[str]:
    if not rows:
        return set()
    cursor = await connection.execute(query, {"rows": encode_rows(rows)})
    return {key for (key,) in await cursor.fetchall()}
