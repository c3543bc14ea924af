"""The change envelope: one message of SECMASTER_CDC (docs/contracts.md § 2)."""

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar
from urllib.parse import unquote

import msgspec

from ssmd_common.depth import is_deep
from ssmd_stream.errors import UnreadableMessage

VERSION: Final = 1

_END: Final = 1 << 32

Op = Literal["insert", "update", "delete", "truncate", "snapshot_begin", "snapshot_end"]


def format_lsn(lsn: int) -> str:
    """`0/16B3748`, as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """The number of an LSN's text; ValueError otherwise."""
    high, slash, low = text.partition("/")
    if not slash or not high or not low or len(high) > 8 or len(low) > 8:
        raise ValueError(f"{text!r} is not an LSN")
    return (int(high, 16) << 32) | int(low, 16)


class Position(NamedTuple):
    """The identity of a change; compares in stream order."""

    epoch: int
    lsn: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `<epoch>:<lsn>:<seq>`, as Nats-Msg-Id has it; ValueError otherwise."""
        try:
            epoch, lsn, seq = text.split(":")
            return cls(int(epoch), parse_lsn(lsn), int(seq))
        except ValueError:
            raise ValueError(f"{text!r} is not a position (epoch:lsn:seq)") from None

    def __str__(self) -> str:
        return f"{self.epoch}:{format_lsn(self.lsn)}:{self.seq}"

    @property
    def is_possible(self) -> bool:
        """Whether a publisher of ours can have given it: others write to NATS, too."""
        return 0 <= self.epoch < _END and 0 <= self.lsn < _END**2 and 0 <= self.seq < _END


class Difference(msgspec.Struct, frozen=True):
    """One column of an update, before and after."""

    old: Any
    new: Any


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one row, or a marker about a whole table.

    `data` is the row after the change (null for delete and truncate), `changes` the columns of an
    update that differ, `before` the row that a delete removed. Integers are JSON integers, NUMERIC
    strings, timestamps RFC 3339 UTC. `error` is set on a marker for a row that could not be
    carried: its bytes are in SECMASTER_DLQ. On snapshot_end, `final` is true for the last table of
    an epoch's re-announcement: readers then drop rows of older epochs.
    """

    v: int
    lsn: str
    seq: int
    xid: int | None
    epoch: int
    table: str
    op: Op
    type: str
    ticker: str | None
    key: dict[str, Any] | None
    data: dict[str, Any] | None
    timestamp: datetime
    changes: dict[str, Difference] | None = None
    before: dict[str, Any] | None = None
    error: str | None = None
    final: bool = False

    @property
    def position(self) -> Position:
        return Position(self.epoch, parse_lsn(self.lsn), self.seq)


class Head(msgspec.Struct, frozen=True):
    """A change without its row: `data` are the bytes it came in. For readers that pass rows on."""

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

    @property
    def position(self) -> Position:
        """Where it stands.

        Raises:
            UnreadableMessage: there is no such position.
        """
        try:
            position = Position(self.epoch, parse_lsn(self.lsn), self.seq)
        except ValueError as error:
            raise UnreadableMessage("position", str(error)) from error
        if not position.is_possible:
            raise UnreadableMessage("position", f"{position} is no position")
        return position


class News(Head, frozen=True):
    """The same with what readers are told beside the row. An unreadable one has no type."""

    type: str = ""
    ticker: str | None = None
    timestamp: datetime | None = None
    """Of the commit."""


DEEPEST: Final = 128
"""How deep a message may be nested that `decode` reads."""

_M = TypeVar("_M", Change, Head, News)
_change_decoder = msgspec.json.Decoder(Change)
_head_decoder = msgspec.json.Decoder(Head)
_news_decoder = msgspec.json.Decoder(News)


def decode(payload: bytes) -> Change:
    """Read one message.

    Raises:
        UnreadableMessage: it is not JSON of this shape, of a version that is not ours, or nested
            more than `DEEPEST` deep.
    """
    if is_deep(payload, DEEPEST):
        raise UnreadableMessage("depth", f"nested more than {DEEPEST} deep")
    change = _decoded(_change_decoder, payload)
    try:
        parse_lsn(change.lsn)
    except ValueError as error:
        raise UnreadableMessage("position", str(error)) from error
    return change


def decode_head(payload: bytes) -> Head:
    """Read one message, but for its row, whose depth does not matter.

    Raises:
        UnreadableMessage: it is not JSON of this shape, or of a version that is not ours.
    """
    return _decoded(_head_decoder, payload)


def decode_news(payload: bytes) -> News:
    """The same as `News`; errors as above."""
    return _decoded(_news_decoder, payload)


def _decoded(decoder: msgspec.json.Decoder[_M], payload: bytes) -> _M:
    try:
        message = decoder.decode(payload)
    except RecursionError as error:
        raise UnreadableMessage("depth", "nested too deep") from error
    except msgspec.ValidationError as error:
        raise UnreadableMessage("shape", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableMessage("json", str(error)) from error
    if message.v != VERSION:
        raise UnreadableMessage(
            "version", f"its version is {message.v}, this program reads {VERSION}"
        )
    return message


KEY_COLUMN: Final = {
    "series": "ticker",
    "events": "event_ticker",
    "markets": "ticker",
    "series_fees": "series_ticker",
}
"""The column of a row's key that is a ticker, and the last token of its subject."""

_ROW_OPS: Final = ("insert", "update", "delete")
_AFTER_HEAD: Final = (b',"data":', b',"error":')


def salvage(payload: bytes, subject: str, reached: Position) -> Head | None:
    """What an unreadable message still says of itself, as a marker: which row it is about.

    That stands before the row, else in the subject. None if it cannot be told, and for subjects
    that are not of a table in `KEY_COLUMN`. Without a position of its own it stands where `reached`
    is.
    """
    for end in _AFTER_HEAD:
        before, found, _ = payload.partition(end)
        if found:
            try:
                head = decode_head(before + b"}")
                _ = head.position
            except UnreadableMessage:
                break
            if head.table in KEY_COLUMN and head.op in _ROW_OPS and head.key:
                return msgspec.structs.replace(head, error="unreadable")
    words = subject.split(".")
    if len(words) < 3 or words[0] != "cdc" or words[1] not in KEY_COLUMN:
        return None
    table, op, tokens = words[1], words[2], words[3:]
    if op not in _ROW_OPS and op != "truncate" and not op.startswith("snapshot_"):
        return None
    # What concerns the table, and a row that is not named.
    about = op in _ROW_OPS and tokens[-1:] not in ([], ["_"])
    return Head(
        v=VERSION,
        lsn=format_lsn(reached.lsn),
        seq=reached.seq,
        epoch=reached.epoch,
        table=table,
        op="update",
        key={KEY_COLUMN[table]: unquote(tokens[-1])} if about else None,
        error="unreadable",
    )
