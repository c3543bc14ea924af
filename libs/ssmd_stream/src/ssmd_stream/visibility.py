"""Joining a snapshot to the change stream by transaction visibility, never by comparing LSNs.

A transaction can be in the stream with a commit LSN below the snapshot's and still be invisible to
it (it waits for synchronous replication). So a reader takes a snapshot, reads the stream from
before it, and applies a change if and only if its transaction is invisible in that snapshot.
"""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A PostgreSQL `pg_snapshot`, with 64-bit transaction ids."""

    xmin: int
    xmax: int
    in_progress: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `xmin:xmax:xip,…`, the text of `pg_current_snapshot()`; ValueError otherwise."""
        try:
            xmin, xmax, xip = text.split(":")
            in_progress = frozenset(int(xid) for xid in xip.split(",") if xid)
            return cls(int(xmin), int(xmax), in_progress)
        except ValueError:
            raise ValueError(f"{text!r} is not a pg_snapshot (xmin:xmax:xip,…)") from None

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.in_progress)))}"

    def sees(self, xid: int) -> bool:
        """Whether the snapshot already holds what this committed transaction did."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.in_progress)


def applies(xid: int | None, snapshot: Snapshot) -> bool:
    """Whether a streamed change must be applied on top of `snapshot`.

    A re-announced row has no xid: it is applied always.
    """
    return xid is None or not snapshot.sees(xid)


def early(first_sequence: int, last_sequence: int) -> int:
    """The sequence after which to read who must see as much of the stream as there is.

    Once the stream discards what is old, its first message is gone before the snapshot is read. A
    tenth of the stream is time enough; a transaction that was published before, and is invisible
    still, must have hung in its commit all the while.
    """
    if first_sequence <= 1:
        return 0
    return first_sequence - 1 + (last_sequence + 1 - first_sequence) // 10


def widen(xid32: int, reference: int) -> int:
    """The 64-bit id of a 32-bit xid from pgoutput, nearest to a fresh 64-bit reference.

    Right as long as the reference is within 2³¹ transactions of the one that is widened.
    """
    difference = (xid32 - reference) & 0xFFFFFFFF
    if difference >= 0x80000000:
        difference -= 0x100000000
    return reference + difference
