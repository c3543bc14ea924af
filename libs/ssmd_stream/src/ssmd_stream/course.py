"""Which messages count for a reader that began with a snapshot. Pure.

The rules are those of docs/contracts.md § 2 and `ssmd_stream.visibility`.
"""

from typing import Final, Literal

from ssmd_stream.change import Head
from ssmd_stream.visibility import Snapshot, applies

Meaning = Literal["row", "announced", "begin", "end"]
"""A change of one row or, truncate, of a whole table; a row that an epoch announces, which is no
news; an epoch begins to announce a table; all of it was announced."""

LOGS: Final = ("market_lifecycle_events",)
"""Tables of which an epoch announces only the newest rows: readers keep what they have."""


class Course:
    """Asked for every message in order."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        """`snapshot` is what the rows were read in."""
        self.epoch = 0
        """The latest that was seen."""
        self._snapshot = snapshot

    def of(self, head: Head) -> Meaning | None:
        """What the message means; None where it does not count."""
        if head.epoch < self.epoch:
            # A leftover of a publisher that was abandoned.
            return None
        self.epoch = head.epoch
        if head.op == "snapshot_begin":
            # It replaces what the snapshot showed, so from here on every change counts.
            self._snapshot = None
            return "begin"
        if head.op == "snapshot_end":
            return "end" if head.final else None
        if self._snapshot is not None and not applies(head.xid, self._snapshot):
            return None
        return "announced" if head.xid is None else "row"
