"""From a message of the change stream to what it does in Redis. Pure."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from ssmd_cache.commands import Command, fee_gone, gone, picture_of, put
from ssmd_cache.errors import NewerStream
from ssmd_cache.picture import TABLES, facts_of, microseconds
from ssmd_common.change import VERSION, Position, parse_lsn
from ssmd_common.errors import MalformedChange
from ssmd_common.keys import Keys
from ssmd_common.visibility import Snapshot, applies


class Message(msgspec.Struct, frozen=True):
    """The envelope as far as the cache needs it; `data` stays as the bytes it came in."""

    v: int
    lsn: str
    seq: int
    epoch: int
    table: str
    op: str
    xid: int | None = None
    key: dict[str, Any] | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    final: bool = False


class Refetch(NamedTuple):
    """The message could not carry its row: read it from PostgreSQL."""

    table: str
    ticker: str
    position: Position


class Rewarm(NamedTuple):
    """The message concerns more than one row can tell: take a new picture."""

    reason: str


class EndOfEpoch(NamedTuple):
    """All of this epoch was announced: what is older is gone."""

    epoch: int


class Announcement(NamedTuple):
    """An epoch announces its state: from here on every change counts, seen or not."""

    epoch: int


Effect = Command | Refetch | Rewarm | EndOfEpoch | Announcement | None

_PRIMARY_KEY: Final = {"series": "ticker", "events": "event_ticker", "markets": "ticker"}
_NULL: Final = b"null"
_decoder = msgspec.json.Decoder(Message)


def decode(payload: bytes) -> Message:
    """Read one message.

    Raises:
        MalformedChange: it is not JSON of this shape.
        NewerStream: it is of a version that is not ours.
    """
    try:
        message = _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise MalformedChange(f"a message of the change stream cannot be read: {error}") from error
    if message.v != VERSION:
        raise NewerStream(
            f"a message has version {message.v}; this cache reads {VERSION}: install a newer one"
        )
    return message


def position_of(message: Message) -> Position:
    """Where it stands; MalformedChange if its LSN is none."""
    try:
        return Position(message.epoch, parse_lsn(message.lsn), message.seq)
    except ValueError as error:
        raise MalformedChange(f"a message of the change stream cannot be read: {error}") from error


def effect(
    message: Message, position: Position, epoch: int, snapshot: Snapshot | None, keys: Keys
) -> Effect:
    """What the message does; None for nothing.

    `epoch` is the one that was reached: a message of an older one is a leftover. `snapshot` is the
    one that the cache was warmed from, or None once every change counts.
    """
    if message.epoch < epoch:
        return None
    announced = message.xid is None
    match message.op:
        case "snapshot_begin":
            return Announcement(message.epoch)
        case "snapshot_end":
            return EndOfEpoch(message.epoch) if message.final else None
        case _:
            pass
    if message.table not in TABLES:
        return None
    if snapshot is not None and not applies(message.xid, snapshot):
        return None
    if message.op == "truncate":
        return Rewarm(f"table {message.table} was truncated")
    if message.error is not None:
        return _refetch(message, position)
    if message.op == "delete":
        return _delete(message, position)
    if message.data == _NULL:
        return _refetch(message, position)
    facts = facts_of(message.table, message.data)
    return put(picture_of(facts, keys), message.data, position, announced=announced)


def coalesce(commands: list[Command]) -> list[Command]:
    """Of several commands about one row the last, in the order of the last ones."""
    last: dict[tuple[str, str], Command] = {}
    for command in commands:
        # A later position never stands before an earlier one in the stream; should it, keep both.
        before = last.pop(command.row, None)
        if before is not None and _position(before) > _position(command):
            command = before
        last[command.row] = command
    return list(last.values())


def _position(command: Command) -> str:
    arguments = command.arguments
    return str(arguments[3] if arguments[0] == "g" else arguments[2])


def _delete(message: Message, position: Position) -> Command | Rewarm:
    key = message.key or {}
    if message.table == "series_fees":
        try:
            start = msgspec.convert(key.get("effective_from"), datetime)
            return fee_gone(str(key["series_ticker"]), microseconds(start), position)
        except (msgspec.ValidationError, KeyError) as error:
            raise MalformedChange(f"a deleted fee step has no usable key: {error}") from error
    ticker = key.get(_PRIMARY_KEY[message.table])
    if not isinstance(ticker, str):
        return Rewarm(f"a deletion in {message.table} does not say which row")
    return gone(message.table, ticker, position)


def _refetch(message: Message, position: Position) -> Refetch | Rewarm:
    column = "series_ticker" if message.table == "series_fees" else _PRIMARY_KEY[message.table]
    ticker = (message.key or {}).get(column)
    if not isinstance(ticker, str):
        return Rewarm(f"a change in {message.table} could not be carried and does not say where")
    return Refetch(message.table, ticker, position)
