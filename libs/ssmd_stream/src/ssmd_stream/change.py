"""The change envelope: one message of SECMASTER_CDC (docs/contracts.md § 2)."""

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Self

import msgspec

from ssmd_common.errors import MalformedChange

VERSION: Final = 1

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


_decoder = msgspec.json.Decoder(Change)


def decode(payload: bytes) -> Change:
    """Read one message.

    Raises:
        MalformedChange: it is not JSON of this shape, or of a version that is not ours.
    """
    try:
        change = _decoder.decode(payload)
        parse_lsn(change.lsn)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedChange(f"a message of the change stream cannot be read: {error}") from error
    if change.v != VERSION:
        raise MalformedChange(f"a message has version {change.v}; this program reads {VERSION}")
    return change
