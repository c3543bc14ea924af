"""Single rows of PostgreSQL between messages, and when the last sync ended."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import psycopg
from pydantic import SecretStr

from ssmd_cache.database.rows import Connection, Rows, queries
from ssmd_common.connections import postgres

_STATEMENT_SECONDS: Final = 10


class Lookup:
    """A connection that is opened when first needed, and again after it was lost."""

    def __init__(self, url: SecretStr, *, budget_seconds: float) -> None:
        self._url = url
        self._budget_seconds = budget_seconds
        self._connection: Connection | None = None
        self._rows: Rows | None = None

    async def rows(self, table: str, tickers: Sequence[str]) -> list[bytes]:
        """These rows as JSON; those that do not exist are left out."""
        try:
            _, rows = await self._open()
            return await rows.some(table, tickers)
        except psycopg.OperationalError:
            await self.close()
            _, rows = await self._open()
            return await rows.some(table, tickers)

    async def last_sync(self) -> str | None:
        """When the last successful sync ended, RFC 3339 UTC; None before the first.

        Raises:
            psycopg.OperationalError: PostgreSQL is away.
        """
        connection, _ = await self._open()
        row = await (await connection.execute(queries.last_sync)).fetchone()
        if row is None or row[0] is None:
            return None
        ended: datetime = row[0]
        return ended.astimezone(UTC).isoformat().replace("+00:00", "Z")

    async def close(self) -> None:
        """Closing twice is fine."""
        if self._connection is not None:
            await self._connection.close()
        self._connection = self._rows = None

    async def _open(self) -> tuple[Connection, Rows]:
        if self._connection is None or self._connection.closed or self._rows is None:
            self._connection = await postgres.connect(
                self._url, "ssmd-cache-lookup", budget_seconds=self._budget_seconds
            )
            # The stream is not applied meanwhile, so a table that someone has locked must not
            # hold it up for long.
            await self._connection.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
            self._rows = Rows(self._connection)
            await self._rows.prepare()
        return self._connection, self._rows
