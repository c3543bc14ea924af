"""A writing session: a connection with the temporary tables that pages are copied into."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from ssmd_common.connections.clock import CLOCK
from ssmd_common.connections.loaders import forgive_values
from ssmd_common.connections.rights import require_rights
from ssmd_common.connections.session import Session
from ssmd_store.statements import QUERIES, session_setup


class Staging:
    """Use it from one task."""

    def __init__(self, connection: Session) -> None:
        self.connection = connection
        self._column_types: list[tuple[Any, ...]] = []

    @classmethod
    async def on(cls, connection: Session, service: str = "") -> Self:
        """On an autocommit connection, for a service's work.

        Raises:
            ConfigurationError: the role lacks a right that the service needs.
        """
        await require_rights(connection, service)
        await forgive_values(connection)
        # A plan that a migration outdates would be an error once; few statements here are small.
        connection.prepare_threshold = None
        await connection.execute("SET client_min_messages = warning")
        await connection.execute(QUERIES.room_for_a_batch)
        session = cls(connection)
        await session.follow_schema()
        return session

    async def follow_schema(self) -> None:
        """Make the staging tables what the published tables are now; call it now and then."""
        column_types = await self.fetched(QUERIES.column_types)
        if column_types != self._column_types:
            async with self.connection.transaction():
                await self._run(QUERIES.drop_staging)
                await self._run(session_setup())
            self._column_types = column_types

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

    async def _run(self, query: Any, parameters: Any = None) -> int:
        """Rows that a statement wrote."""
        return (await self.connection.execute(query, parameters)).rowcount

    async def fetched(self, query: Any, parameters: Any = None) -> list[tuple[Any, ...]]:
        return await (await self.connection.execute(query, parameters)).fetchall()

    async def _tickers(self, query: Any, parameters: Any = None) -> list[str]:
        return [ticker for (ticker,) in await self.fetched(query, parameters)]
