"""What cdc asks of PostgreSQL beside the replication connection: heartbeats, memory, the catalogue.

Each statement goes over the one connection that is kept (`kept_connection`).
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import psycopg
import structlog
from psycopg import sql

from ssmd_cdc.encode.values import TypeInfo, is_known
from ssmd_cdc.epoch import State
from ssmd_cdc.errors import SlotRefused
from ssmd_cdc.kept_connection import KeptConnection
from ssmd_cdc.replication.heartbeat import Heartbeats
from ssmd_common.connections.retry import first_line
from ssmd_common.sql import Queries
from ssmd_stream import subjects
from ssmd_stream.change import Position, format_lsn, parse_lsn

log = structlog.get_logger(__name__)

queries = Queries("ssmd_cdc")

HEARTBEAT_PREFIX: Final = "ssmd_cdc.heartbeat"


class Control(KeptConnection):
    """The statements; those of several tasks take turns."""

    async def prepare(self) -> None:
        """Check the server, and make the publication if it is missing.

        Raises:
            SlotRefused: it cannot be made, or the server cannot do logical replication.
        """
        name = self.settings.cdc_publication
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
            cursor = await connection.execute(queries.slot, {"slot": self.settings.cdc_slot})
            return await cursor.fetchone()

    async def slot_is_anothers(self) -> bool:
        """Whether the slot was dropped and made again by someone else; ask before streaming."""
        async with self.connection() as connection:
            cursor = await connection.execute(
                queries.slot_is_anothers, {"slot": self.settings.cdc_slot}
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
            cursor = await connection.execute(queries.read_state, {"slot": self.settings.cdc_slot})
            row = await cursor.fetchone()
        return State(**{**row, "lsn": parse_lsn(row["lsn"])}) if row else None

    async def write_state(self, state: State) -> bool:
        """Remember; False if a later publisher has already."""
        async with self.connection() as connection:
            cursor = await connection.execute(
                queries.write_state,
                {
                    "slot": self.settings.cdc_slot,
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
