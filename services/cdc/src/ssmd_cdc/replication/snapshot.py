"""An epoch's announcement: the whole state is published, from the slot's exported snapshot.

For each table snapshot_begin, one insert per row, snapshot_end; `final` on the last. What commits
after the snapshot comes from the slot, so that a reader misses nothing and sees nothing twice.

The log of lifecycle messages comes last, and only its newest rows: it is many times larger than the
state, which it must not push out of the stream (docs/decisions/0019).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, LiteralString, NamedTuple, cast

import psycopg
import structlog
from psycopg import sql
from psycopg.rows import dict_row

from ssmd_cdc.control import Control, queries
from ssmd_cdc.encode.envelope import Envelope, Outgoing
from ssmd_cdc.encode.table_encoder import TableEncoder, table_name
from ssmd_cdc.errors import ReplicationEnded, SlotRefused, UnreadableValue
from ssmd_cdc.replication.backend import require_same_server, settle_session
from ssmd_cdc.replication.pgoutput import Column, Value
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections.retry import first_line
from ssmd_common.connections.session import Login, Session, open_session
from ssmd_stream import subjects

log = structlog.get_logger(__name__)

Send = Callable[[Outgoing], Awaitable[None]]

_LOG: Final = "market_lifecycle_events"
_STORED_BESIDE_BYTES: Final = 160
"""What the stream stores of a message beside its payload and subject: headers and its own frame."""

_LOG_ROW_BESIDE_BYTES: Final = 800
"""What a row of the log costs in the stream beside its values."""


class Published(NamedTuple):
    """`state_bytes` is what the stream stored without the log, about."""

    rows: int
    state_bytes: int


class Snapshot:
    """An open transaction that sees the database exactly as it was when the slot was made."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], settings: CdcSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._bytes = 0

    async def close(self) -> None:
        """End the transaction: as long as it is open, nothing can be vacuumed."""
        await self._connection.close()

    async def server_time(self) -> float:
        """Now by PostgreSQL's clock, as the commits of changes are; in seconds since 1970."""
        row = await (await self._connection.execute(queries.server_time)).fetchone()
        assert row is not None
        return float(row["seconds"])

    async def publish(self, control: Control, envelope: Envelope, send: Send) -> Published:
        """Send the whole state, and the end of the log.

        Raises:
            SlotRefused: the publication covers no table.
        """
        cursor = await self._connection.execute(
            queries.published_tables, {"publication": self._settings.cdc_publication}
        )
        tables = sorted(await cursor.fetchall(), key=_order)
        if not tables:
            raise SlotRefused(
                f"the publication {self._settings.cdc_publication} covers no table: add the tables "
                "of the security master to it"
            )

        async def count(message: Outgoing) -> None:
            self._bytes += len(message.payload) + len(message.subject) + _STORED_BESIDE_BYTES
            await send(message)

        rows = state_bytes = 0
        for table in tables:
            rows += await self._table(table, control, envelope, count, final=table is tables[-1])
            if not _is_log(table):
                state_bytes = self._bytes
        return Published(rows, state_bytes)

    async def _log_begins(self) -> int | None:
        """The id of the first row of the log that is published; None for none."""
        cap = self._settings.cdc_stream_max_bytes
        cursor = await self._connection.execute(
            queries.log_begins,
            {
                "overhead": _LOG_ROW_BESIDE_BYTES,
                "age": self._settings.cdc_stream_max_age_seconds,
                "room": min(cap // 8, max(0, cap // 2 - self._bytes)),
            },
        )
        row = await cursor.fetchone()
        return None if row is None or row["id"] is None else int(row["id"])

    async def _table(
        self,
        table: dict[str, Any],
        control: Control,
        envelope: Envelope,
        send: Send,
        *,
        final: bool,
    ) -> int:
        name = table_name(table["schemaname"], table["tablename"])
        encoder = TableEncoder.of(
            name,
            [Column(*pair) for pair in zip(table["columns"], table["types"], strict=True)],
            await control.primary_key(table["relation"]),
            await control.types(table["types"]),
        )
        await send(envelope.snapshot_begin(name))
        rows = 0
        only: sql.Composable | None = None
        if _is_log(table):
            begins = await self._log_begins()
            only = sql.SQL("false") if begins is None else sql.SQL("id >= {}").format(begins)
        async with self._connection.cursor().copy(_copy(table, only)) as copy:
            async for texts in copy.rows():
                await send(_insert(envelope, encoder, cast(tuple[str | None, ...], texts)))
                rows += 1
        await send(envelope.snapshot_end(name, final=final))
        return rows


async def open_snapshot(settings: CdcSettings, name: str, beside: Session) -> Snapshot:
    """Take up the snapshot that the slot exported; the caller closes it.

    Raises:
        ReplicationEnded: the server refused.
        OtherServer: it is another than that of `beside`.
    """
    try:
        login = Login.of(settings.database_url, "ssmd-cdc-announce").at(beside)
        connection = await open_session(login, row_factory=dict_row)
        try:
            require_same_server(connection, beside)
            await settle_session(connection)
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(name))
        except BaseException:
            await connection.close()
            raise
    except psycopg.OperationalError as error:
        raise ReplicationEnded(first_line(error)) from error
    return Snapshot(connection, settings)


def _insert(envelope: Envelope, encoder: TableEncoder, texts: tuple[str | None, ...]) -> Outgoing:
    row: list[Value] = [None if text is None else text.encode() for text in texts]
    numbered = envelope.seq
    try:
        return envelope.insert(encoder, row)
    except UnreadableValue as error:
        envelope.seq = numbered
        raw = "\t".join("\\N" if text is None else text for text in texts).encode()
        return envelope.marker(encoder, "insert", f"the row cannot be read: {error}", raw, row)


def _is_log(table: dict[str, Any]) -> bool:
    """Whether it is ours: another's of that name may lack the columns that we go by."""
    ours = (table["schemaname"], table["tablename"]) == ("public", _LOG)
    return ours and {"id", "received_at"} <= set(table["columns"])


def _copy(table: dict[str, Any], only: sql.Composable | None) -> sql.Composed:
    # The row filter is PostgreSQL's own text of the publication's expression.
    conditions = [only] if only else []
    if table["rowfilter"]:
        conditions.append(sql.SQL("({})").format(sql.SQL(cast(LiteralString, table["rowfilter"]))))
    where: sql.Composable = sql.SQL("")
    if conditions:
        where = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions)
    return sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT").format(
        sql.SQL(", ").join(map(sql.Identifier, table["columns"])),
        sql.Identifier(table["schemaname"], table["tablename"]),
        where,
    )


_ORDER = {name: place for place, name in enumerate(subjects.TOKEN_COLUMNS)}


def _order(table: dict[str, Any]) -> tuple[int, str]:
    """Parents before children, as readers like it."""
    return _ORDER.get(table["tablename"], len(_ORDER)), table["tablename"]
