"""Build the messages of one transaction, straight to JSON bytes (`ssmd_stream.change.Change`)."""

import contextlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

from ssmd_cdc.encode import changetype
from ssmd_cdc.encode.table_encoder import TableEncoder
from ssmd_cdc.encode.values import NULL, text
from ssmd_cdc.errors import UnreadableValue
from ssmd_cdc.replication.pgoutput import UNCHANGED, Value
from ssmd_stream import subjects
from ssmd_stream.change import VERSION, format_lsn
from ssmd_stream.publish import outgoing as publish

_POSTGRES_ZERO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_POSTGRES_ZERO_UNIX: Final = _POSTGRES_ZERO.timestamp()


class Outgoing(publish.Outgoing, gc=False):
    """`ssmd_stream`'s kind of message for a change; its `id` is its `Position` as text.

    `raw` are the bytes for the dead letters if this is a marker for what could not be read.
    """

    lsn: int
    seq: int
    table: str
    op: str
    raw: bytes | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.table, self.op)


class Envelope:
    """The messages of one transaction, numbered from 0 in order.

    `lsn` is its commit LSN, `xid` its 64-bit id, `time` when it was committed (`utc`); without an
    id, rows are re-announced.
    """

    __slots__ = ("_head", "_id", "lsn", "seq")

    def __init__(self, epoch: int, lsn: int, xid: int | None, time: str) -> None:
        self.lsn = lsn
        self.seq = 0
        self._id = f"{epoch}:{format_lsn(lsn)}:"
        self._head = (
            f'{{"v":{VERSION},"lsn":"{format_lsn(lsn)}","xid":{"null" if xid is None else xid},'
            f'"epoch":{epoch},"timestamp":"{time}","seq":'
        ).encode()

    def insert(self, encoder: TableEncoder, new: list[Value]) -> Outgoing:
        deleted = encoder.deleted_at is not None and new[encoder.deleted_at] is not None
        return self._row(
            encoder,
            "insert",
            changetype.inserted(encoder.table, deleted),
            new,
            encoder.json(new),
            b"",
        )

    def delete(self, encoder: TableEncoder, old: list[Value], *, whole: bool) -> Outgoing:
        """`whole` tells whether `old` is all of the row: else it is its key only."""
        before = b',"before":' + encoder.json(old) if whole else b""
        return self._row(encoder, "delete", changetype.removed(encoder.table), old, NULL, before)

    def update(
        self, encoder: TableEncoder, old: list[Value], new: list[Value], differing: list[int]
    ) -> list[Outgoing]:
        """One message; or a delete and an insert if the row's key or subject changed.

        `old` is the whole row before, `differing` where `new` is not as it. What was not sent
        because it did not change is filled in from `old`.
        """
        if any(new[at] is UNCHANGED for at in differing):
            new = [was if now is UNCHANGED else now for was, now in zip(old, new, strict=True)]
            differing = [at for at in differing if new[at] != old[at]]
        if not encoder.identity.isdisjoint(differing):
            return [self.delete(encoder, old, whole=True), self.insert(encoder, new)]
        labels, caches = encoder.labels, encoder.caches
        changes = b",".join(
            [
                b'%b{"old":%b,"new":%b}'
                % (
                    label := labels[at],
                    caches[at][old[at]][len(label) :],
                    caches[at][new[at]][len(label) :],
                )
                for at in differing
            ]
        )
        type_ = encoder.updated
        if not encoder.watched_columns.isdisjoint(differing):
            type_ = changetype.updated(
                encoder.table, encoder.watched_of(old), encoder.watched_of(new)
            )
        more = b',"changes":{%b}' % changes
        return [self._row(encoder, "update", type_, new, encoder.json(new), more)]

    def plain_update(self, encoder: TableEncoder, subject: str, parts: list[bytes]) -> Outgoing:
        """What `update` makes where the type is the usual one: `parts` is its text in order.

        The second is `about`; the first is for us.
        """
        seq = self.seq
        self.seq = seq + 1
        parts[0] = b"%b%d" % (self._head, seq)
        payload = b"".join(parts)
        return Outgoing(
            f"{self._id}{seq}",
            subject,
            encoder.updated,
            payload,
            self.lsn,
            seq,
            encoder.table,
            "update",
        )

    def blind_update(self, encoder: TableEncoder, new: list[Value]) -> Outgoing:
        """An update of a table without REPLICA IDENTITY FULL: what differs cannot be told.

        Raises:
            UnreadableValue: a column was not sent.
        """
        _refuse_unchanged(encoder, new)
        return self._row(encoder, "update", encoder.updated, new, encoder.json(new), b"")

    def key_update(
        self, encoder: TableEncoder, old_key: list[Value], new: list[Value]
    ) -> list[Outgoing]:
        """An update of the key of a table whose identity is only its key."""
        _refuse_unchanged(encoder, new)
        return [self.delete(encoder, old_key, whole=False), self.insert(encoder, new)]

    def truncate(self, table: str) -> Outgoing:
        return self._about_table(table, "truncate", changetype.removed(table), b"")

    def snapshot_begin(self, table: str) -> Outgoing:
        return self._about_table(table, "snapshot_begin", "snapshot_begin", b"")

    def snapshot_end(self, table: str, *, final: bool) -> Outgoing:
        more = b',"final":true' if final else b""
        return self._about_table(table, "snapshot_end", "snapshot_end", more)

    def marker(
        self, encoder: TableEncoder, op: str, error: str, raw: bytes, row: list[Value] | None = None
    ) -> Outgoing:
        """Stands for a row that cannot be read; its bytes go to the dead letters.

        `row` is what of it can be: where that tells whose change it is, the marker says so, else
        each token of its subject is `_`.
        """
        table = encoder.table
        type_ = {
            "insert": changetype.inserted(table, False),
            "update": changetype.updated(table, {}, {}),
            "delete": changetype.removed(table),
        }[op]
        more = b',"error":' + text(error.encode())
        who = subjects.unreadable_subject(table, op), NULL, NULL
        if row is not None:
            with contextlib.suppress(UnreadableValue, UnicodeDecodeError):
                who = _whose(encoder, op, row)
        return self._message(table, op, type_, *who, NULL, more, raw)

    def _row(
        self, encoder: TableEncoder, op: str, type_: str, row: list[Value], data: bytes, more: bytes
    ) -> Outgoing:
        return self._message(
            encoder.table,
            op,
            type_,
            encoder.subject(op, row),
            encoder.ticker_json(row),
            encoder.key_json(row),
            data,
            more,
        )

    def _about_table(self, table: str, op: str, type_: str, more: bytes) -> Outgoing:
        subject = subjects.table_subject(table, op)
        return self._message(table, op, type_, subject, NULL, NULL, NULL, more)

    def _message(
        self,
        table: str,
        op: str,
        type_: str,
        subject: str,
        ticker: bytes,
        key: bytes,
        data: bytes,
        more: bytes,
        raw: bytes | None = None,
    ) -> Outgoing:
        seq = self.seq
        self.seq = seq + 1
        about = self.about(table, op, type_, ticker, key)
        payload = b"%b%d%b%b%b}" % (self._head, seq, about, data, more)
        return Outgoing(f"{self._id}{seq}", subject, type_, payload, self.lsn, seq, table, op, raw)

    @staticmethod
    def about(table: str, op: str, type_: str, ticker: bytes, key: bytes) -> bytes:
        """What a message says between its number and its row."""
        return b'%b%b,"key":%b,"data":' % (_constant(table, op, type_), ticker, key)


@lru_cache(maxsize=512)
def _constant(table: str, op: str, type_: str) -> bytes:
    """What all messages of a kind have alike."""
    names = text(table.encode()), op.encode(), text(type_.encode())
    return b',"table":%b,"op":"%b","type":%b,"ticker":' % names


class _Head(msgspec.Struct):
    """What a marker keeps of a message that does not fit."""

    v: int
    lsn: str
    xid: int | None
    epoch: int
    timestamp: str
    seq: int
    table: str
    op: str
    type: str
    ticker: str | None
    key: msgspec.Raw


def as_marker(message: Outgoing, error: str) -> Outgoing:
    """The marker that takes the place of a message which does not fit, with the same identity."""
    head = msgspec.json.encode(msgspec.json.decode(message.payload, type=_Head))
    return msgspec.structs.replace(
        message, payload=b'%b,"data":null,"error":%b}' % (head[:-1], text(error.encode()))
    )


def utc(microseconds: int) -> str:
    """A time of the replication protocol (µs since 2000) as RFC 3339."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{_utc_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=64)
def _utc_second(seconds: int) -> str:
    return (_POSTGRES_ZERO + timedelta(seconds=seconds)).isoformat()[:19]


def unix_seconds(microseconds: int) -> float:
    """The same time in seconds since 1970."""
    return _POSTGRES_ZERO_UNIX + microseconds / 1_000_000


def protocol_time(unix_seconds: float) -> int:
    """The same time, as the replication protocol has it."""
    return round((unix_seconds - _POSTGRES_ZERO_UNIX) * 1_000_000)


def _whose(encoder: TableEncoder, op: str, row: list[Value]) -> tuple[str, bytes, bytes]:
    """The subject, the ticker and the key of a row.

    Raises:
        UnreadableValue, UnicodeDecodeError: one of their columns cannot be read.
    """
    if any(row[at] is UNCHANGED for at in encoder.identity):
        raise UnreadableValue(f"{encoder.table} was sent without what its subject carries")
    return encoder.subject(op, row), encoder.ticker_json(row), encoder.key_json(row)


def _refuse_unchanged(encoder: TableEncoder, new: list[Value]) -> None:
    if UNCHANGED in new:
        name = encoder.columns[new.index(UNCHANGED)]
        raise UnreadableValue(
            f"{encoder.table}.{name} was not sent, since the table has no REPLICA IDENTITY FULL"
        )
