"""The ordinary connection beside the replication connection: heartbeats, memory, the catalogue.

It is kept. A server that shuts down in smart mode waits for its sessions to end, ours too, and
tells nobody: only that it takes no new ones shows it, so that is asked from time to time.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from ssmd_cdc.encode.values import TypeInfo, is_known
from ssmd_cdc.epoch import State
from ssmd_cdc.errors import (
    MarksMissing,
    OtherServer,
    ReplicationEnded,
    ServerReadOnly,
    SlotRefused,
)
from ssmd_cdc.replication.backend import require_same_server
from ssmd_cdc.replication.heartbeat import Heartbeats
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections import postgres
from ssmd_common.connections.accepting import refuses_sessions
from ssmd_common.connections.retry import first_line
from ssmd_common.connections.rights import lacking
from ssmd_common.connections.session import Login, Session, look, open_session
from ssmd_common.deadlines import answered_within
from ssmd_common.sql import Queries
from ssmd_stream import subjects
from ssmd_stream.change import Position, format_lsn, parse_lsn

log = structlog.get_logger(__name__)

queries = Queries("ssmd_cdc")

HEARTBEAT_PREFIX: Final = "ssmd_cdc.heartbeat"

# A heartbeat and our own memory must not wait for a synchronous standby that does not answer. After
# a failover the memory may be an older one: then a new epoch begins, also where none would have to
# (docs/decisions/0024).
_SESSION: Final = "SET synchronous_commit = local"

STATEMENT_SECONDS: Final = 10.0
_ASKING_SECONDS: Final = 3.0


class Control:
    """One connection at a time; statements of several tasks take turns."""

    def __init__(self, settings: CdcSettings) -> None:
        self._settings = settings
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
                raise lacking(error, self._settings.database_url) from error
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
        if now - self._asked < 0.9 * self._settings.cdc_heartbeat_seconds:
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

    async def prepare(self) -> None:
        """Check the server, and make the publication if it is missing.

        Raises:
            SlotRefused: it cannot be made, or the server cannot do logical replication.
        """
        name = self._settings.cdc_publication
        async with self.connection() as connection:
            cursor = await connection.execute(queries.server_facts, {"publication": name})
            facts = await cursor.fetchone()
            assert facts is not None
            if facts["wal_level"] != "logical":
                raise SlotRefused(
                    f"PostgreSQL runs with wal_level {facts['wal_level']}: set it to logical and "
                    "restart the server"
                )
            if facts["has_publication"]:
                return
            tables = sql.SQL(", ").join(map(sql.Identifier, subjects.TOKEN_COLUMNS))
            make = sql.SQL("CREATE PUBLICATION {} FOR TABLE {}")
            try:
                await connection.execute(make.format(sql.Identifier(name), tables))
            except psycopg.errors.DuplicateObject:
                return  # Another replica was faster.
            except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
                raise SlotRefused(
                    f"the publication {name} cannot be made ({first_line(error)}): apply the "
                    "migrations, or let the tables' owner create it"
                ) from error
            log.info("publication created", publication=name)

    async def slot(self) -> dict[str, Any] | None:
        """The row of `queries.slot`."""
        async with self.connection() as connection:
            cursor = await connection.execute(queries.slot, {"slot": self._settings.cdc_slot})
            return await cursor.fetchone()

    async def slot_is_anothers(self) -> bool:
        """Whether the slot was dropped and made again by someone else; ask before streaming."""
        async with self.connection() as connection:
            cursor = await connection.execute(
                queries.slot_is_anothers, {"slot": self._settings.cdc_slot}
            )
            row = await cursor.fetchone()
            assert row is not None
            return bool(row["anothers"])

    async def xid_reference(self) -> int:
        async with self.connection() as connection:
            row = await (await connection.execute(queries.xid_reference)).fetchone()
            assert row is not None
            return int(next(iter(row.values())))

    async def emit_heartbeat(self, heartbeats: Heartbeats) -> None:
        """Write a mark to the WAL."""
        async with self.connection() as connection:
            content = heartbeats.mark(asyncio.get_running_loop().time())
            try:
                await connection.execute(
                    queries.emit_heartbeat, {"prefix": HEARTBEAT_PREFIX, "content": content}
                )
            except BaseException:
                heartbeats.forget(content)
                raise
            row = await (await connection.execute(queries.wal_position)).fetchone()
            assert row is not None
            heartbeats.wrote(content, parse_lsn(row["lsn"]))

    async def read_state(self) -> State | None:
        async with self.connection() as connection:
            cursor = await connection.execute(queries.read_state, {"slot": self._settings.cdc_slot})
            row = await cursor.fetchone()
        return State(**{**row, "lsn": parse_lsn(row["lsn"])}) if row else None

    async def write_state(self, state: State) -> bool:
        """Remember; False if a later publisher has already."""
        async with self.connection() as connection:
            cursor = await connection.execute(
                queries.write_state,
                {
                    "slot": self._settings.cdc_slot,
                    "epoch": state.epoch,
                    "system_identifier": state.system_identifier,
                    "timeline": state.timeline,
                    "stream_created": state.stream_created,
                    "stream_sequence": state.stream_sequence,
                    "lsn": format_lsn(state.lsn),
                    "seq": state.seq,
                },
            )
            return await cursor.fetchone() is not None

    async def primary_key(self, relation: int) -> list[str]:
        """The columns of a table's primary key; none if it has none or is gone by now."""
        async with self.connection() as connection:
            cursor = await connection.execute(queries.primary_key, {"relation": relation})
            return [row["attname"] for row in await cursor.fetchall()]

    async def types(self, oids: Iterable[int]) -> dict[int, TypeInfo]:
        """What is to be known of types that are not built in."""
        wanted = [oid for oid in oids if not is_known(oid)]
        if not wanted:
            return {}
        async with self.connection() as connection:
            cursor = await connection.execute(queries.types, {"types": wanted})
            return {row["oid"]: TypeInfo(**row) for row in await cursor.fetchall()}


def remembered(state: State, sequence: int, position: Position) -> State:
    """`state` moved on to a later acknowledged message."""
    return State(
        epoch=position.epoch,
        system_identifier=state.system_identifier,
        timeline=state.timeline,
        stream_created=state.stream_created,
        stream_sequence=sequence,
        lsn=position.lsn,
        seq=position.seq,
    )
