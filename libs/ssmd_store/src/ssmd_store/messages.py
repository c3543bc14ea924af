"""What messages change of events and markets, inside a transaction of the one order of locks."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, LiteralString, TypeVar

import msgspec
from psycopg import sql
from psycopg.rows import class_row

from ssmd_common.sql import Queries
from ssmd_store.parents import Connection, locking
from ssmd_store.statements import listed
from ssmd_store.states import EventState, MarketState

QUERIES: Final = Queries("ssmd_store", "messages.sql")

S = TypeVar("S", EventState, MarketState)


class RowAppearedError(Exception):
    """Another writer inserted a row that this transaction took for absent; the next try sees it."""


class Rows(Generic[S]):
    """The rows of one table as messages see them."""

    def __init__(self, table: LiteralString, key: LiteralString, state: type[S]) -> None:
        self._state: type[S] = state
        self._key = key
        names = state.__slots__
        read = [
            sql.SQL(QUERIES.deleted_at) if name == "deleted_at" else sql.Identifier(name)
            for name in names
            if name != "extra"
        ]
        self._lock = locking(table, key, sql.SQL(", ").join(read))
        self._insert = _filled(QUERIES.insert_rows, table, key, names)
        changed = [name for name in names if not name.endswith("ticker") and name != "extra"]
        self._update = _filled(QUERIES.update_rows, table, key, changed)

    async def lock(self, connection: Connection, tickers: Sequence[str]) -> dict[str, S]:
        """Those that are there, locked in ticker order; events before markets."""
        async with connection.cursor(row_factory=class_row(self._state)) as cursor:
            await cursor.execute(self._lock, {"tickers": list(tickers)})
            return {getattr(row, self._key): row for row in await cursor.fetchall()}

    async def insert(self, connection: Connection, rows: Sequence[S]) -> None:
        """Raises RowAppearedError where one is there."""
        if rows:
            cursor = await connection.execute(self._insert, {"rows": encode_rows(rows)})
            if cursor.rowcount < len(rows):
                raise RowAppearedError

    async def update(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Change locked rows: each with its key, and the columns that are to change."""
        if rows:
            await connection.execute(self._update, {"rows": encode_rows(rows)})


def _filled(query: LiteralString, table: LiteralString, key: str, names: Sequence[str]) -> bytes:
    filled = sql.SQL(query).format(
        table=sql.Identifier(table),
        key=sql.Identifier(key),
        key_name=sql.Literal(key),
        columns=listed(names),
        given=listed(names, "g"),
    )
    return filled.as_bytes(None)


def encode_rows(rows: Sequence[Any]) -> str:
    """Rows as one JSON array for jsonb_populate_recordset: exact decimals as text."""
    return msgspec.json.encode(rows).decode()


EVENTS: Final = Rows("events", "event_ticker", EventState)
MARKETS: Final = Rows("markets", "ticker", MarketState)
