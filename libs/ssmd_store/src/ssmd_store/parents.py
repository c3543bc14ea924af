"""The one order of locks, in which every writer goes, and an event's status (docs/architecture.md,
decision 13).

A transaction needs some of these steps and takes them in this order; it locks in ticker order:

1. `market_lifecycle_events`: a batch of messages stores its own rows, as they came. Only a second
   leader could store the same ones.
2. `series`: those that are missing get stubs. A page of series locks those that it changes; that is
   all of its transaction.
3. `events`: locked, the events to which a market belonged and belongs.
4. `markets`: inserted, or updated. Whoever changes a market has locked its event, so two writers
   never meet at one, and an UPDATE needs no order of its own. Messages and the clock lock markets
   all the same: they build on what they read.
5. `market_lifecycle_events`: the clock's rows, whose keys no message has.
6. `events`, of those that are locked the status: it follows from their markets.

`series_fees`, rows of steps that a gap hid, and the log's retention have transactions of their own.
So no two writers wait for each other, and no event stays open that two of them closed at once. A
batch that loses a deadlock to somebody else's statement is tried again.
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
    """Make the status and the collection of locked events what their markets say."""
    await connection.execute(QUERIES.recompute_events, {"tickers": list(tickers)})
