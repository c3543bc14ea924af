"""From a message of the change stream to what it does in Redis. Pure."""

from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from ssmd_cache.commands import Command, fee_gone, gone, picture_of, put
from ssmd_cache.errors import UnreadableMessage
from ssmd_cache.picture import TABLES, facts_of
from ssmd_common import times
from ssmd_common.errors import MalformedTime
from ssmd_common.keys import Keys
from ssmd_stream.change import VERSION, Position, format_lsn, parse_lsn
from ssmd_stream.visibility import Snapshot, applies


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
    """The message could not carry its row: read it from PostgreSQL.

    `sequence` is the message's, where known.
    """

    table: str
    ticker: str
    position: Position
    sequence: int = 0


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

KEY: Final = {
    "series": "ticker",
    "events": "event_ticker",
    "markets": "ticker",
    "series_fees": "series_ticker",
}
_NULL: Final = b"null"
_decoder = msgspec.json.Decoder(Message)


def decode(payload: bytes) -> Message:
    """Read one message.

    Raises:
        UnreadableMessage: it is not JSON of this shape and version, or nested too deep.
    """
    try:
        message = _decoder.decode(payload)
    except RecursionError as error:
        raise UnreadableMessage("depth", "nested too deep") from error
    except msgspec.ValidationError as error:
        raise UnreadableMessage("shape", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableMessage("json", str(error)) from error
    if message.v != VERSION:
        raise UnreadableMessage(
            "version", f"its version is {message.v}, this cache reads {VERSION}"
        )
    return message


def position_of(message: Message) -> Position:
    """Where it stands.

    Raises:
        UnreadableMessage: there is no such position.
    """
    try:
        position = Position(message.epoch, parse_lsn(message.lsn), message.seq)
    except ValueError as error:
        raise UnreadableMessage("position", str(error)) from error
    if not (0 <= position.epoch < _END and 0 <= position.lsn < _END**2 and 0 <= message.seq < _END):
        raise UnreadableMessage("position", f"{position} is no position")
    return position


_END: Final = 1 << 32


def salvage(payload: bytes, subject: str, reached: Position) -> Message | None:
    """What an unreadable message still says of itself, as a marker: which row it is about.

    That stands before the row, else in the subject. None if it cannot be told, and for subjects
    that are not of the change stream. Without a position of its own it stands where `reached` is.
    """
    for end in (_DATA, _ERROR):
        before, found, _ = payload.partition(end)
        if found:
            try:
                head = decode(before + b"}")
                position_of(head)
            except UnreadableMessage:
                break
            if head.table in TABLES and head.op in _ROW_OPS and head.key:
                return msgspec.structs.replace(head, error="unreadable")
    words = subject.split(".")
    if len(words) < 3 or words[0] != "cdc" or words[1] not in TABLES:
        return None
    table, op, tokens = words[1], words[2], words[3:]
    if op not in _ROW_OPS and op != "truncate" and not op.startswith("snapshot_"):
        return None
    # What concerns the table, and a row that is not named.
    about = op in _ROW_OPS and tokens not in ([], ["_"])
    return Message(
        v=VERSION,
        lsn=format_lsn(reached.lsn),
        seq=reached.seq,
        epoch=reached.epoch,
        table=table,
        op="update",
        key={KEY[table]: unquote(tokens[-1])} if about else None,
        error="unreadable",
    )


_DATA: Final = b',"data":'
_ERROR: Final = b',"error":'
_ROW_OPS: Final = ("insert", "update", "delete")


def effect(
    message: Message, position: Position, epoch: int, snapshot: Snapshot | None, keys: Keys
) -> Effect:
    """What the message does; None for nothing.

    `epoch` is the one that was reached: a message of an older one is a leftover. `snapshot` is the
    one that the cache was warmed from, or None once every change counts.

    Raises:
        UnreadableMessage: its row cannot be given to readers.
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
    if message.op == "delete":
        return _delete(message, position)
    row = bytes(message.data)
    if message.error is not None or row == _NULL:
        return _refetch(message, position)
    picture = picture_of(facts_of(message.table, row), keys)
    try:
        return put(picture, row, position, announced=announced)
    except UnicodeDecodeError as error:
        raise UnreadableMessage("json", str(error)) from error


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


def _delete(message: Message, position: Position) -> Command | Refetch | Rewarm:
    key = message.key or {}
    ticker = key.get(KEY[message.table])
    if not isinstance(ticker, str):
        return Rewarm(f"a deletion in {message.table} does not say which row")
    if message.table != "series_fees":
        return gone(message.table, ticker, position)
    try:
        return fee_gone(ticker, times.microseconds(str(key.get("effective_from"))), position)
    except MalformedTime:
        return Refetch(message.table, ticker, position)


def _refetch(message: Message, position: Position) -> Refetch | Rewarm:
    ticker = (message.key or {}).get(KEY[message.table])
    if not isinstance(ticker, str):
        return Rewarm(f"a change in {message.table} could not be carried and does not say where")
    return Refetch(message.table, ticker, position)
