"""What `secmaster:position` says: which part of the stream Redis reflects."""

from typing import Final

import msgspec

from ssmd_stream.change import Position, parse_lsn
from ssmd_stream.visibility import Snapshot

VERSION: Final = 2
"""Contents of another version are made anew: 2 encodes the tokens of keys."""


class CachePosition(msgspec.Struct, frozen=True, kw_only=True):
    """Written in the same step as the rows it speaks of.

    `sequence` is the stream's sequence of the last message applied; epoch, lsn and seq are that
    message's. `snapshot` is the pg_snapshot that Redis was warmed from: changes of transactions
    that it sees are in Redis already; null once every change counts. `token` is the leader's
    fencing token. `warm` is false while Redis is being warmed.
    """

    v: int = VERSION
    token: int
    warm: bool = False
    sequence: int = 0
    epoch: int = 0
    lsn: str = "0/0"
    seq: int = 0
    snapshot: str | None = None
    stream_created: str | None = None
    generation: str = ""
    warmed_at: str | None = None
    rebuilds: int = 0
    """How many rebuilds that were asked for have been done."""

    @property
    def reached(self) -> Position:
        return Position(self.epoch, parse_lsn(self.lsn), self.seq)

    @property
    def visible(self) -> Snapshot | None:
        return Snapshot.parse(self.snapshot) if self.snapshot is not None else None


def encode(position: CachePosition) -> bytes:
    return msgspec.json.encode(position)


def decode(text: bytes | str) -> CachePosition | None:
    """The position; None for text that is not one of this version."""
    try:
        position = msgspec.json.decode(text, type=CachePosition)
    except msgspec.MsgspecError:
        return None
    return position if position.v == VERSION else None
