"""The replication connection: the slot, what comes from it, and what it is told.

Over psycopg's libpq wrapper, nonblocking. Reading takes what libpq has, then what the socket has,
and waits only when there is neither.
"""

import asyncio
import re
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import pq, sql
from psycopg.rows import dict_row

from ssmd_cdc.encode.envelope import protocol_time
from ssmd_cdc.epoch import System, history
from ssmd_cdc.errors import (
    ReplicationEnded,
    SessionEnded,
    SlotBusy,
    SlotGone,
    SlotRefused,
    SlotUnreadable,
)
from ssmd_cdc.replication.backend import require_same_server, settle_session
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections import postgres
from ssmd_common.connections.retry import first_line
from ssmd_common.connections.session import Login, Session, open_session
from ssmd_stream.change import parse_lsn

_STATUS: Final = struct.Struct(">cQQQqB")
_KEEPALIVE: Final = struct.Struct(">xQqB")

# PostgreSQL 16 and newer, and 15. While connecting, psycopg has only the server's text.
_MAY_NOT_REPLICATE: Final = (
    "permission denied to start WAL sender",
    "must be superuser or replication role to start walsender",
)

_NO_REPLICATION: Final = (
    "DATABASE_URL leads through a pooler that passes no replication connection, on which the WAL "
    "is read: give cdc a direct connection (pgbouncer 1.23 and newer pass it too)"
)

# A fault of PostgreSQL's (15 to 18): where a transaction that runs when the slot is begun makes a
# table in a subtransaction, as partitions of history are made, the slot's first snapshot does not
# show that table, and what is written to it cannot be decoded, ever. An internal error: its text is
# the same in every language.
_UNREADABLE: Final = re.compile(r"could not map file(?:number|node) .* to relation OID")

_FAILOVER_SINCE: Final = 170000

WAL_DATA: Final = ord("w")
KEEPALIVE: Final = ord("k")
DATA_AT: Final = 25
"""Where the message begins in a `WAL_DATA` frame."""


class Replication:
    """A connection in replication mode; after `start` it streams until it ends."""

    def __init__(self, connection: Session, settings: CdcSettings) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.backend = connection.backend
        """The process of the server that serves it."""

    @property
    def has_failover(self) -> bool:
        """Whether the server knows failover slots."""
        return self._pgconn.server_version >= _FAILOVER_SINCE

    async def identify(self) -> System:
        try:
            row = await self._row("IDENTIFY_SYSTEM")
        except psycopg.errors.SyntaxError as error:
            # The pooler left out what asks for a walsender: an ordinary session answers.
            raise SlotRefused(_NO_REPLICATION) from error
        timeline = int(row["timeline"])
        history = await self._history(timeline) if timeline > 1 else {}
        return System(str(row["systemid"]), timeline, parse_lsn(row["xlogpos"]), history)

    async def _history(self, timeline: int) -> dict[int, int]:
        """Where each timeline before it was left; nothing where the server has forgotten it."""
        command = sql.SQL("TIMELINE_HISTORY {}").format(timeline)
        try:
            cursor = await self._connection.execute(command)
        except (psycopg.errors.UndefinedFile, psycopg.errors.IoError):
            return {}
        # Of type bytea, and yet not written as one.
        content = cursor.pgresult.get_value(0, 1) if cursor.pgresult else None
        return history((content or b"").decode(errors="replace"))

    async def set_failover(self, failover: bool) -> None:
        """Have standbys keep a copy of the slot, or no more; before `start`.

        Raises:
            SlotBusy: another process streams from it.
            SlotGone: it is missing or was invalidated.
        """
        command = sql.SQL("ALTER_REPLICATION_SLOT {} (FAILOVER {})").format(
            sql.Identifier(self._settings.cdc_slot), sql.SQL("true" if failover else "false")
        )
        try:
            await self._connection.execute(command)
        except psycopg.errors.ObjectInUse as error:
            raise SlotBusy("another replica holds the slot") from error
        except (
            psycopg.errors.UndefinedObject,
            psycopg.errors.ObjectNotInPrerequisiteState,
        ) as error:
            raise SlotGone(first_line(error)) from error

    async def create(self) -> tuple[int, str]:
        """Make the slot: its consistent point, and the snapshot that shows what came before it.

        The snapshot can be taken up by others until the next command here. Waits for the
        transactions that run now.

        Raises:
            SlotBusy: another replica made it meanwhile.
            SlotRefused: the server cannot or may not make it.
        """
        failover = self._settings.cdc_slot_failover and self.has_failover
        command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput ({})").format(
            sql.Identifier(self._settings.cdc_slot),
            sql.SQL("SNAPSHOT 'export', FAILOVER" if failover else "SNAPSHOT 'export'"),
        )
        try:
            row = await self._row(command)
        except psycopg.errors.DuplicateObject as error:
            raise SlotBusy("another replica made the slot") from error
        except (psycopg.ProgrammingError, psycopg.errors.ConfigurationLimitExceeded) as error:
            raise SlotRefused(
                f"the slot {self._settings.cdc_slot} cannot be made ({first_line(error)}): give "
                "the role REPLICATION, or raise max_replication_slots"
            ) from error
        return parse_lsn(row["consistent_point"]), str(row["snapshot_name"])

    async def drop(self) -> None:
        """Drop the slot if it is there.

        Raises:
            SlotBusy: another process streams from it.
        """
        command = sql.SQL("DROP_REPLICATION_SLOT {}").format(
            sql.Identifier(self._settings.cdc_slot)
        )
        try:
            await self._connection.execute(command)
        except psycopg.errors.UndefinedObject:
            return
        except psycopg.errors.ObjectInUse as error:
            raise SlotBusy("another replica holds the slot") from error

    async def start(self) -> None:
        """Stream from where the slot was confirmed.

        Raises:
            SlotBusy: another process streams from it.
            SlotGone: it is missing or was invalidated.
        """
        command = sql.SQL(
            "START_REPLICATION SLOT {} LOGICAL 0/0 "
            "(proto_version '1', publication_names {}, messages 'true')"
        ).format(
            sql.Identifier(self._settings.cdc_slot),
            sql.Literal(f'"{self._settings.cdc_publication}"'),
        )
        pgconn = self._pgconn
        pgconn.send_query(command.as_string(self._connection).encode())
        while pgconn.flush():
            await self._wait(write=True)
        while pgconn.is_busy():
            await self._wait()
            self._consume()
        result = pgconn.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_BOTH:
            raise self._refusal(result)
        pgconn.nonblocking = 1

    def frames(self) -> Iterator[memoryview]:
        """What is there to read, `WAL_DATA` and `KEEPALIVE`, until nothing is.

        Raises:
            ReplicationEnded: the stream or the connection ended.
            SlotUnreadable: the server cannot go on, nor will it when asked again.
        """
        get, consume = self._pgconn.get_copy_data, self._pgconn.consume_input
        try:
            while True:
                size, frame = get(1)
                if size == 0:
                    consume()
                    size, frame = get(1)
                if size <= 0:
                    break
                yield frame
        except psycopg.Error as error:
            raise ReplicationEnded(first_line(error)) from error
        if size < 0:
            raise self._end()

    async def wait(self, seconds: float) -> None:
        """Wait for something to read, at most so long."""
        await self._wait(seconds=seconds)

    def feedback(self, lsn: int, *, ask: bool = False) -> None:
        """Tell the server that all before `lsn` is safe with us; `ask` for a word that it lives.

        Raises:
            ReplicationEnded: the connection ended.
        """
        now = protocol_time(time.time())
        try:
            self._pgconn.put_copy_data(_STATUS.pack(b"r", lsn, lsn, lsn, now, ask))
            # What does not fit now is flushed with the next.
            self._pgconn.flush()
        except psycopg.Error as error:
            raise ReplicationEnded(first_line(error)) from error

    async def _row(self, command: str | sql.Composed) -> dict[str, Any]:
        cursor = await self._connection.execute(command)  # type: ignore[arg-type,unused-ignore]
        row = await cursor.fetchone()
        if row is None:
            raise ReplicationEnded("the server answered a replication command with nothing")
        return dict(row)

    def _refusal(self, result: pq.abc.PGresult | None) -> Exception:
        text = result.get_error_message() if result else self._pgconn.get_error_message()
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode() if result else ""
        if state == "55006":
            return SlotBusy(text)
        if state in ("42704", "55000"):
            return SlotGone(text)
        return ReplicationEnded(text or "the server refused to stream")

    def _end(self) -> SessionEnded:
        # The reason comes only with the result that ends the stream.
        try:
            result = self._pgconn.get_result()
            text = result.get_error_message() if result else self._pgconn.get_error_message()
        except psycopg.Error as error:
            text = str(error)
        if _UNREADABLE.search(text):
            return SlotUnreadable(text.strip())
        return ReplicationEnded(text.strip() or "the server ended the stream")

    def _consume(self) -> None:
        try:
            self._pgconn.consume_input()
        except psycopg.Error as error:
            raise ReplicationEnded(first_line(error)) from error

    async def _wait(self, *, seconds: float | None = None, write: bool = False) -> None:
        loop, socket = self._loop, self._pgconn.socket
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        timer = loop.call_later(seconds, wake) if seconds is not None else None
        add, remove = (
            (loop.add_writer, loop.remove_writer)
            if write
            else (loop.add_reader, loop.remove_reader)
        )
        add(socket, wake)
        try:
            await ready
        finally:
            remove(socket)
            if timer is not None:
                timer.cancel()


@asynccontextmanager
async def open_replication(settings: CdcSettings, beside: Session) -> AsyncIterator[Replication]:
    """A connection in replication mode, closed at the end: that frees the slot.

    Raises:
        ReplicationEnded: the server is not there.
        OtherServer: it is another than that of `beside`.
        SlotRefused: the role may not replicate.
    """
    try:
        login = Login.of(settings.database_url, "ssmd-cdc-slot", replication="database").at(beside)
        connection = await open_session(login, row_factory=dict_row)
    except psycopg.OperationalError as error:
        if "unsupported startup parameter" in str(error):
            raise SlotRefused(_NO_REPLICATION) from error
        if any(text in str(error) for text in _MAY_NOT_REPLICATE):
            raise SlotRefused(
                f"the slot {settings.cdc_slot} cannot be read ({first_line(error)}): give the role "
                "REPLICATION"
            ) from error
        postgres.raise_if_refused(error)
        raise ReplicationEnded(first_line(error)) from error
    try:
        require_same_server(connection, beside)
        await settle_session(connection)
        seconds = settings.cdc_wal_sender_timeout_seconds
        await connection.execute(sql.SQL("SET wal_sender_timeout = {}").format(seconds * 1000))
        yield Replication(connection, settings)
    except psycopg.OperationalError as error:
        raise ReplicationEnded(first_line(error)) from error
    finally:
        # Not `close`, which would wait for an orderly end of the stream.
        connection.pgconn.finish()
        await connection.close()


def keepalive(frame: memoryview) -> tuple[int, bool]:
    """The server's end of WAL, and whether it wants an answer now."""
    wal_end, _, reply = _KEEPALIVE.unpack(frame)
    return int(wal_end), bool(reply)
