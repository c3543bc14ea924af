"""The order in which every writer goes (docs/architecture.md, decision 13).

Series that are missing, then the events in ticker order, then their markets in ticker order; at the
end the status of the locked events follows from their markets. So no two writers wait for each
other, and no event stays open that two of them closed at once.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from ssmd_common.sql import Queries
from ssmd_common.tickers import is_game

Connection = psycopg.AsyncConnection[Any]

QUERIES: Final = Queries("ssmd_store", "parents.sql")


async def add_series(connection: Connection, tickers: Iterable[str]) -> None:
    """Make stubs of series that have no row."""
    if names := sorted(set(tickers)):
        given = {"tickers": names, "is_game": [is_game(name) for name in names]}
        await connection.execute(QUERIES.add_series, given)


def locking(
    table: LiteralString, key: LiteralString, columns: sql.Composable | None = None
) -> bytes:
    """The statement that locks those of `tickers` that are there, and reads `columns` of them."""
    names = {"table": sql.Identifier(table), "key": sql.Identifier(key)}
    columns = columns or sql.Identifier(key)
    return sql.SQL(QUERIES.lock_rows).format(**names, columns=columns).as_bytes(None)


LOCK_MARKETS: Final = locking("markets", "ticker")


async def recompute_events(connection: Connection, tickers: Sequence[str]) -> None:
    """Make the status of locked events what their markets say."""
    await connection.execute(QUERIES.recompute_events, {"tickers": list(tickers)})
