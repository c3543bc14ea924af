"""From a row message of the replication protocol to the messages of the stream."""

from collections.abc import Mapping

from ssmd_cdc.envelope import Envelope, Outgoing
from ssmd_cdc.errors import MalformedMessage, UnreadableValue
from ssmd_cdc.pgoutput import Delete, Insert, Truncate, Update, Value, decode, relation_of
from ssmd_cdc.shape import Shape

_UPDATE = ord("U")
_OPS = {ord("I"): "insert", ord("U"): "update", ord("D"): "delete"}


def translate(envelope: Envelope, shapes: Mapping[int, Shape], data: bytes) -> list[Outgoing]:
    """The messages that one row message (or truncate) becomes.

    A row that cannot be read becomes a marker with its bytes, so that nothing is dropped in
    silence.

    Raises:
        MalformedMessage: it names no table that was described before.
    """
    if data[0] == _UPDATE:
        shape = shapes.get(int.from_bytes(data[1:5], "big"))
        plain = shape.quick.update(envelope, data) if shape is not None and len(data) > 8 else None
        if plain is not None:
            return [plain]
    numbered = envelope.seq
    try:
        return _translate(envelope, shapes, data)
    except (MalformedMessage, UnreadableValue, UnicodeDecodeError) as error:
        relation = relation_of(data)
        if relation is None or relation not in shapes:
            raise
        # What was numbered before the fault was found is not sent.
        envelope.seq = numbered
        shape, reason = shapes[relation], f"the row cannot be read: {error}"
        return [envelope.marker(shape, _OPS[data[0]], reason, data, _readable(shape, data))]


def _readable(shape: Shape, data: bytes) -> list[Value] | None:
    """The row that the message is about, as far as it can be split; None if it is about two."""
    try:
        message = decode(data)
    except MalformedMessage:
        return None
    match message:
        case Insert(_, row) | Update(_, None, _, row) | Delete(_, row, True):
            pass
        case Update(_, _, True, row, differing) if shape.identity.isdisjoint(differing):
            pass
        case _:
            return None
    return row if len(row) == len(shape.columns) else None


def _translate(envelope: Envelope, shapes: Mapping[int, Shape], data: bytes) -> list[Outgoing]:
    message = decode(data)
    try:
        match message:
            case Insert(relation, new):
                return [envelope.insert(_fitting(shapes[relation], new), new)]
            case Update(relation, old, whole, new, differing):
                shape = _fitting(shapes[relation], new)
                if old is None:
                    return [envelope.blind_update(shape, new)]
                if whole:
                    return envelope.update(shape, old, new, differing)
                return envelope.key_update(_fitting(shape, old), old, new)
            case Delete(relation, old, whole):
                return [envelope.delete(_fitting(shapes[relation], old), old, whole=whole)]
            case Truncate(relations):
                return [envelope.truncate(shapes[relation].table) for relation in relations]
    except KeyError as error:
        raise MalformedMessage(f"table {error} was not described before its rows") from None
    raise MalformedMessage(f"a {type(message).__name__} message carries no row")


def _fitting(shape: Shape, row: list[Value]) -> Shape:
    if len(row) != len(shape.columns):
        raise MalformedMessage(
            f"a row of {shape.table} has {len(row)} columns, {len(shape.columns)} were described"
        )
    return shape
