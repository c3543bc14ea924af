"""Decode pgoutput: PostgreSQL's logical replication messages, protocol version 1, text format.

Source: PostgreSQL documentation, "Logical Replication Message Formats". Pure: bytes in, values out.
"""

import struct
from collections.abc import Callable
from struct import Struct as Layout
from typing import Final, TypeAlias

import msgspec

from ssmd_cdc.errors import MalformedMessage


class _Unchanged:
    """A value kept out of line that the update did not touch, so that it was not sent."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged()

Value: TypeAlias = bytes | _Unchanged | None
"""A column's text as the server wrote it, null, or UNCHANGED."""


class Begin(msgspec.Struct, frozen=True, gc=False):
    """`commit_lsn` is where the commit record starts; `committed_at` is in µs since 2000."""

    commit_lsn: int
    committed_at: int
    xid: int


class Commit(msgspec.Struct, frozen=True, gc=False):
    """`end_lsn` is the position to confirm when all of the transaction is acknowledged."""

    commit_lsn: int
    end_lsn: int
    committed_at: int


class Column(msgspec.Struct, frozen=True):
    name: str
    type_oid: int


class Relation(msgspec.Struct, frozen=True):
    """A table's columns as the following messages have them; `identity` is d, n, f or i."""

    oid: int
    namespace: str
    name: str
    identity: str
    columns: tuple[Column, ...]


class Insert(msgspec.Struct, frozen=True):
    relation: int
    new: list[Value]


class Update(msgspec.Struct, frozen=True):
    """`old` is whole if the identity is FULL, the old key if only that was sent, else None.

    `differing`, where `old` is whole: the indexes of the columns that were not sent alike.
    """

    relation: int
    old: list[Value] | None
    old_is_whole: bool
    new: list[Value]
    differing: list[int] = []


class Delete(msgspec.Struct, frozen=True):
    relation: int
    old: list[Value]
    old_is_whole: bool


class Truncate(msgspec.Struct, frozen=True):
    relations: tuple[int, ...]


class Logical(msgspec.Struct, frozen=True):
    """What `pg_logical_emit_message` wrote."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """A type or an origin: nothing that the stream carries."""


Message: TypeAlias = (
    Begin | Commit | Relation | Insert | Update | Delete | Truncate | Logical | Ignored
)

_BEGIN = Layout(">xQqI")
_COMMIT = Layout(">xBQQq")
_U8 = Layout(">B")
_U16 = Layout(">H")
_U32 = Layout(">I")
_COLUMN = Layout(">Ii")
_TRUNCATE = Layout(">xIB")
_LOGICAL = Layout(">xBQ")

_length = _U32.unpack_from

_TEXT, _NULL, _TOAST = b"tnu"
_NEW, _OLD, _KEY = b"NOK"


def decode(data: bytes) -> Message:
    """Read one message.

    Raises:
        MalformedMessage: the bytes are not a message of protocol version 1 in text format.
    """
    try:
        message, end = _READERS[data[0]](data)
    except (IndexError, ValueError, KeyError, struct.error) as error:
        raise MalformedMessage(f"a replication message is malformed: {error!r}") from error
    if end != len(data):
        raise MalformedMessage(f"a replication message has {len(data)} bytes, {end} were expected")
    return message


def relation_of(data: bytes) -> int | None:
    """The relation that a row message speaks of, even where its row cannot be read."""
    return int(_length(data, 1)[0]) if data[:1] in (b"I", b"U", b"D") and len(data) >= 5 else None


def _row(data: bytes, at: int) -> tuple[list[Value], int]:
    (count,) = _U16.unpack_from(data, at)
    at += 2
    values: list[Value] = []
    append = values.append
    for _ in range(count):
        kind = data[at]
        if kind == _TEXT:
            start = at + 5
            at = start + _length(data, at + 1)[0]
            append(data[start:at])
        elif kind == _NULL:
            at += 1
            append(None)
        elif kind == _TOAST:
            at += 1
            append(UNCHANGED)
        else:
            raise ValueError(f"a column has the unknown kind {kind}")
    return values, at


def _row_after(data: bytes, at: int, old: list[Value]) -> tuple[list[Value], list[int], int]:
    """As `_row`, for a row that mostly equals `old`; also the indexes where it does not."""
    (count,) = _U16.unpack_from(data, at)
    if count != len(old):
        raise ValueError(f"a row has {count} columns, and {len(old)} before")
    at += 2
    values = old.copy()
    differing: list[int] = []
    for index, was in enumerate(old):
        kind = data[at]
        if kind == _TEXT:
            start = at + 5
            at = start + _length(data, at + 1)[0]
            now: Value = data[start:at]
        elif kind == _NULL:
            at += 1
            now = None
        elif kind == _TOAST:
            at += 1
            now = UNCHANGED
        else:
            raise ValueError(f"a column has the unknown kind {kind}")
        if now != was:
            values[index] = now
            differing.append(index)
    return values, differing, at


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _begin(data: bytes) -> tuple[Begin, int]:
    return Begin(*_BEGIN.unpack_from(data)), _BEGIN.size


def _commit(data: bytes) -> tuple[Commit, int]:
    _, commit_lsn, end_lsn, committed_at = _COMMIT.unpack_from(data)
    return Commit(commit_lsn, end_lsn, committed_at), _COMMIT.size


def _relation(data: bytes) -> tuple[Relation, int]:
    (oid,) = _length(data, 1)
    namespace, at = _text(data, 5)
    name, at = _text(data, at)
    identity = chr(data[at])
    (count,) = _U16.unpack_from(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        column, at = _text(data, at + 1)
        type_oid, _modifier = _COLUMN.unpack_from(data, at)
        at += _COLUMN.size
        columns.append(Column(column, type_oid))
    # An empty namespace stands for pg_catalog.
    return Relation(oid, namespace or "pg_catalog", name, identity, tuple(columns)), at


def _insert(data: bytes) -> tuple[Insert, int]:
    _expect(data, 5, _NEW)
    new, at = _row(data, 6)
    return Insert(_length(data, 1)[0], new), at


def _update(data: bytes) -> tuple[Update, int]:
    (relation,) = _length(data, 1)
    kind = data[5]
    if kind == _NEW:
        new, at = _row(data, 6)
        return Update(relation, None, False, new), at
    if kind not in (_OLD, _KEY):
        raise ValueError(f"an update begins with the unknown kind {kind}")
    old, middle = _row(data, 6)
    _expect(data, middle, _NEW)
    if kind == _OLD:
        new, differing, at = _row_after(data, middle + 1, old)
        return Update(relation, old, True, new, differing), at
    new, at = _row(data, middle + 1)
    return Update(relation, old, False, new), at


def _delete(data: bytes) -> tuple[Delete, int]:
    kind = data[5]
    if kind not in (_OLD, _KEY):
        raise ValueError(f"a delete begins with the unknown kind {kind}")
    old, at = _row(data, 6)
    return Delete(_length(data, 1)[0], old, kind == _OLD), at


def _truncate(data: bytes) -> tuple[Truncate, int]:
    count, _options = _TRUNCATE.unpack_from(data)
    end = _TRUNCATE.size + 4 * count
    relations = tuple(_length(data, at)[0] for at in range(_TRUNCATE.size, end, 4))
    return Truncate(relations), end


def _logical(data: bytes) -> tuple[Logical, int]:
    flags, lsn = _LOGICAL.unpack_from(data)
    prefix, at = _text(data, _LOGICAL.size)
    (size,) = _length(data, at)
    at += 4
    return Logical(bool(flags & 1), lsn, prefix, data[at : at + size]), at + size


def _ignored(data: bytes) -> tuple[Ignored, int]:
    return Ignored(), len(data)


def _expect(data: bytes, at: int, kind: int) -> None:
    if data[at] != kind:
        raise ValueError(f"{chr(kind)} was expected at {at}")


_READERS: Final[dict[int, Callable[[bytes], tuple[Message, int]]]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("R"): _relation,
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("T"): _truncate,
    ord("M"): _logical,
    ord("Y"): _ignored,
    ord("O"): _ignored,
}
