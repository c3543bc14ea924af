"""The ordinary connection beside the replication connection: kept, checked, made anew.

A server that shuts down in smart mode waits for its sessions to end, ours too, and tells nobody:
only that it takes no new ones shows it, so that is asked from time to time.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from ssmd_cdc.errors import MarksMissing, OtherServer, ReplicationEnded, ServerReadOnly
from ssmd_cdc.replication.backend import require_same_server
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections import postgres
from ssmd_common.connections.accepting import refuses_sessions
from ssmd_common.connections.retry import first_line
from ssmd_common.connections.rights import lacking
from ssmd_common.connections.session import Login, Session, look, open_session
from ssmd_common.deadlines import answered_within

# A heartbeat and our own memory must not wait for a synchronous standby that does not answer. After
# a failover the memory may be an older one: then a new epoch begins, also where none would have to
# (docs/decisions/0024).
_SESSION: Final = "SET synchronous_commit = local"

STATEMENT_SECONDS: Final = 10.0
_ASKING_SECONDS: Final = 3.0


class KeptConnection:
    """One connection at a time; statements of several tasks take turns."""

    def __init__(self, settings: CdcSettings) -> None:
        self.settings = settings
        self._login = Login.of(settings.database_url, "ssmd-cdc")
        self._reached: Login | None = None
        self._connection: Session | None = None
        self._beside: Session | None = None
        self._abandoned: set[asyncio.Task[Session]] = set()
        self._turn = asyncio.Lock()
        self._asked = 0.0

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @asynccontextmanager
    async def pinned(self) -> AsyncIterator[Session]:
        """Keep to the server that answers now, while inside; yields a session on it, to compare.

        After errors that tell of two servers the next connection is made anew.

        Raises:
            OtherServer: a connection that was made anew inside led to another.
        """
        async with self.connection() as session:
            self._beside = session
        try:
            yield session
        except (OtherServer, MarksMissing):
            async with self._turn:
                await self.close()
            raise
        finally:
            self._beside = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Session]:
        """The connection, for statements that end soon.

        Raises:
            ReplicationEnded: the server is not there, refuses new sessions, or does not answer.
            ServerReadOnly: it takes no writes.
            OtherServer: it is not the one that is kept to.
            ConfigurationError: the role lacks a right, or the database cannot be used.
        """
        async with self._turn:
            try:
                async with answered_within(STATEMENT_SECONDS):
                    yield await self._current()
            except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
                await self.close()
                raise ReplicationEnded(
                    f"PostgreSQL does not answer: {first_line(error)}"
                ) from error
            except psycopg.errors.InsufficientPrivilege as error:
                raise lacking(error, self.settings.database_url) from error
            except psycopg.errors.ReadOnlySqlTransaction as error:
                await self.close()
                raise ServerReadOnly(f"PostgreSQL is read-only ({first_line(error)})") from error
            except psycopg.Error as error:
                # A database that is just being migrated gets there by itself.
                raise ReplicationEnded(
                    f"PostgreSQL refuses a statement ({first_line(error)}): apply the migrations"
                ) from error

    async def _current(self) -> Session:
        if self._connection is None:
            login = self._login
            try:
                session = await self._whole(open_session(login, row_factory=dict_row))
            except psycopg.OperationalError as error:
                postgres.raise_if_refused(error)
                raise
            self._connection, self._reached = session, login.at(session)
            if self._beside is not None:
                require_same_server(session, self._beside)
            await self._require_writable(session)
            await session.execute(_SESSION)
        return self._connection

    async def _require_writable(self, session: Session) -> None:
        if session.refuses_writes is not None:
            await self.close()
            raise ServerReadOnly(session.refuses_writes)

    async def _whole(self, connect: Coroutine[Any, Any, Session]) -> Session:
        """The connection; if we are cancelled, the attempt still comes to its end, and is closed.

        Left half-way, its socket would stay open until Python finds it, and a server that shuts
        down waits for what we were about to send: a minute (authentication_timeout).
        """
        attempt = asyncio.create_task(connect, name="cdc-connect")
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            self._abandoned.add(attempt)
            attempt.add_done_callback(self._discard)
            raise

    def _discard(self, attempt: "asyncio.Task[Session]") -> None:
        self._abandoned.discard(attempt)
        if not attempt.cancelled() and attempt.exception() is None:
            attempt.result().pgconn.finish()

    async def let_go_if_shutting_down(self) -> None:
        """Close the connection if the server takes no new sessions; asks it once in a heartbeat.

        Raises:
            ReplicationEnded: so it is.
        """
        now = asyncio.get_running_loop().time()
        if now - self._asked < 0.9 * self.settings.cdc_heartbeat_seconds:
            return
        self._asked = now
        if self._reached is None:
            return
        server = conninfo_to_dict(self._reached.info)
        if await refuses_sessions(server, _ASKING_SECONDS):
            async with self._turn:
                await self.close()
            raise ReplicationEnded("PostgreSQL takes no new sessions: it is shutting down")

    async def look(self) -> None:
        """See whether the session is still ours, on a server that takes writes.

        Raises:
            ServerReadOnly: it takes none.
            ConfigurationError: a pooler shares its sessions.
        """
        async with self.connection() as session:
            await look(session)
            await self._require_writable(session)
