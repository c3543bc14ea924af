"""From a row message of the replication protocol to the messages of the stream."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from ssmd_cdc.encode.envelope import Envelope, Outgoing
from ssmd_cdc.encode.fast_path import FastPath
from ssmd_cdc.encode.table_encoder import TableEncoder
from ssmd_cdc.encode.values import TypeInfo
from ssmd_cdc.errors import MalformedMessage, UnreadableValue
from ssmd_cdc.replication.pgoutput import (
    Column,
    Delete,
    Insert,
    Truncate,
    Update,
    Value,
    decode,
    relation_of,
)

_UPDATE = ord("U")
_OPS = {ord("I"): "insert", ord("U"): "update", ord("D"): "delete"}


class Table(NamedTuple):
    """The two ways from a table's row to its messages: the encoder reads all that the fast path
    leaves to it."""

    encoder: TableEncoder
    fast_path: FastPath

    @classmethod
    def of(
        cls,
        name: str,
        columns: Iterable[Column],
        key: Iterable[str],
        catalogue: Mapping[int, TypeInfo],
    ) -> Self:
        """As `TableEncoder.of`."""
        encoder = TableEncoder.of(name, columns, key, catalogue)
        return cls(encoder, FastPath(encoder))


def translate(envelope: Envelope, tables: Mapping[int, Table], data: bytes) -> list[Outgoing]:
    """The messages that one row message (or truncate) becomes.

    A row that cannot be read becomes a marker with its bytes, so that nothing is dropped in
    silence.

    Raises:
        MalformedMessage: it names no table that was described before.
    """
    if data[0] == _UPDATE:
        table = tables.get(int.from_bytes(data[1:5], "big"))
        plain = table.fast_path.update(envelope, data) if table and len(data) > 8 else None
        if plain is not None:
            return [plain]
    numbered = envelope.seq
    try:
        return _translate(envelope, tables, data)
    except (MalformedMessage, UnreadableValue, UnicodeDecodeError) as error:
        relation = relation_of(data)
        if relation is None or relation not in tables:
            raise
        # What was numbered before the fault was found is not sent.
        envelope.seq = numbered
        encoder, reason = tables[relation].encoder, f"the row cannot be read: {error}"
        return [envelope.marker(encoder, _OPS[data[0]], reason, data, _readable(encoder, data))]


def _readable(encoder: TableEncoder, data: bytes) -> list[Value] | None:
    """The row that the message is about, as far as it can be split; None if it is about two."""
    try:
        message = decode(data)
    except MalformedMessage:
        return None
    match message:
        case Insert(_, row) | Update(_, None, _, row) | Delete(_, row, True):
            pass
        case Update(_, _, True, row, differing) if encoder.identity.isdisjoint(differing):
            pass
        case _:
            return None
    return row if len(row) == len(encoder.columns) else None


def _translate(envelope: Envelope, tables: Mapping[int, Table], data: bytes) -> list[Outgoing]:
    message = decode(data)
    try:
        match message:
            case Insert(relation, new):
                return [envelope.insert(_fitting(tables[relation].encoder, new), new)]
            case Update(relation, old, whole, new, differing):
                encoder = _fitting(tables[relation].encoder, new)
                if old is None:
                    return [envelope.blind_update(encoder, new)]
                if whole:
                    return envelope.update(encoder, old, new, differing)
                return envelope.key_update(_fitting(encoder, old), old, new)
            case Delete(relation, old, whole):
                return [envelope.delete(_fitting(tables[relation].encoder, old), old, whole=whole)]
            case Truncate(relations):
                return [envelope.truncate(tables[relation].encoder.table) for relation in relations]
    except KeyError as error:
        raise MalformedMessage(f"table {error} was not described before its rows") from None
    raise MalformedMessage(f"a {type(message).__name__} message carries no row")


def _fitting(encoder: TableEncoder, row: list[Value]) -> TableEncoder:
    if len(row) != len(encoder.columns):
        count = len(encoder.columns)
        raise MalformedMessage(
            f"a row of {encoder.table} has {len(row)} columns, {count} were described"
        )
    return encoder
