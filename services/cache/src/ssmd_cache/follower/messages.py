"""What a message of the change stream does in Redis. Pure."""

from typing import Final, NamedTuple

from ssmd_cache.projection.commands import Command, put, remove
from ssmd_cache.projection.facts import TABLES
from ssmd_cache.projection.records import FeeStep, sortable
from ssmd_common import times
from ssmd_common.errors import MalformedTime
from ssmd_common.keys import Keys
from ssmd_stream.change import KEY_COLUMN, Head, Position
from ssmd_stream.course import meaning
from ssmd_stream.errors import UnreadableMessage
from ssmd_stream.visibility import Snapshot


class Refetch(NamedTuple):
    """The message could not carry its row: read it from PostgreSQL.

    `sequence` is the message's, where known.
    """

    table: str
    ticker: str
    position: Position
    sequence: int = 0


class Rewarm(NamedTuple):
    """The message concerns more than one row can tell: warm up."""

    reason: str


class EndOfEpoch(NamedTuple):
    """All of this epoch was announced: what is older is gone."""

    epoch: int


class Announcement(NamedTuple):
    """An epoch announces its state: from here on every change counts, seen or not."""

    epoch: int


Effect = Command | Refetch | Rewarm | EndOfEpoch | Announcement | None

_NULL: Final = b"null"


def effect(
    message: Head, position: Position, epoch: int, snapshot: Snapshot | None, keys: Keys
) -> Effect:
    """What the message does; None for nothing.

    `epoch` and `snapshot` are as `ssmd_stream.course` takes them: the one that was reached, and the
    one that the cache was warmed from.

    Raises:
        UnreadableMessage: its row cannot be given to readers.
    """
    meant = meaning(message, epoch, snapshot)
    match meant:
        case None:
            return None
        case "begin":
            return Announcement(message.epoch)
        case "end":
            return EndOfEpoch(message.epoch)
        case _:
            pass
    if message.table not in TABLES:
        return None
    if message.op == "truncate":
        return Rewarm(f"table {message.table} was truncated")
    if message.op == "delete":
        return _delete(message, position)
    row = bytes(message.data)
    if message.error is not None or row == _NULL:
        return _refetch(message, position)
    try:
        # An announced row is no news.
        return put(message.table, row, position, keys, known_only=meant == "announced")
    except UnicodeDecodeError as error:
        raise UnreadableMessage("json", str(error)) from error


def _delete(message: Head, position: Position) -> Command | Refetch | Rewarm:
    key = message.key or {}
    ticker = key.get(KEY_COLUMN[message.table])
    if not isinstance(ticker, str):
        return Rewarm(f"a deletion in {message.table} does not say which row")
    if message.table != "series_fees":
        return remove(message.table, ticker, position)
    try:
        start = times.microseconds(str(key.get("effective_from")))
    except MalformedTime:
        return Refetch(message.table, ticker, position)
    return Command("f", ticker, FeeStep(start, sortable(position)))


def _refetch(message: Head, position: Position) -> Refetch | Rewarm:
    ticker = (message.key or {}).get(KEY_COLUMN[message.table])
    if not isinstance(ticker, str):
        return Rewarm(f"a change in {message.table} could not be carried and does not say where")
    return Refetch(message.table, ticker, position)
