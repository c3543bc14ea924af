"""What a message of SECMASTER_CDC means to a reader (a row, an announced row, the beginning or the
end of an announcement, or nothing), and which count after a snapshot. Pure.

What follows from a row (a deletion, say) is each reader's.

The rules are those of docs/contracts.md § 2 and `ssmd_stream.visibility`.
"""

from typing import Literal

from ssmd_stream.change import Head
from ssmd_stream.visibility import Snapshot, applies

Meaning = Literal["row", "announced", "begin", "end"]
"""A change of one row or, truncate, of a whole table; a row that an epoch announces, which is no
news; an epoch begins to announce a table; all of it was announced."""


def meaning(head: Head, epoch: int, snapshot: Snapshot | None) -> Meaning | None:
    """What a message means to a reader; None where it does not count.

    `epoch` is the latest that the reader has seen: a message of an older one is a leftover of a
    publisher that was abandoned. `snapshot` is what its rows were read in, and None from the first
    "begin" on: an announcement replaces what the snapshot showed, so every change counts.
    """
    if head.epoch < epoch:
        return None
    if head.op == "snapshot_begin":
        return "begin"
    if head.op == "snapshot_end":
        return "end" if head.final else None
    if snapshot is not None and not applies(head.xid, snapshot):
        return None
    return "announced" if head.xid is None else "row"


class Course:
    """The same for whoever keeps nothing else: asked for every message in order."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        """`snapshot` is what the rows were read in."""
        self.epoch = 0
        """The latest that was seen."""
        self._snapshot = snapshot

    def of(self, head: Head) -> Meaning | None:
        """What the message means; None where it does not count."""
        meant = meaning(head, self.epoch, self._snapshot)
        self.epoch = max(self.epoch, head.epoch)
        if meant == "begin":
            self._snapshot = None
        return meant
