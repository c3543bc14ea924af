"""How far the slot may be confirmed: the contiguous prefix of fully acknowledged transactions."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """Messages are counted as they are handed over; they are acknowledged in the same order.

    `confirmed` is the LSN to tell PostgreSQL; it never moves back.
    """

    confirmed: int
    sent: int = 0
    in_transaction: bool = False
    _ended: deque[tuple[int, int, float]] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        """Whether everything that was received is confirmed."""
        return not self.in_transaction and not self._ended

    def began(self) -> None:
        self.in_transaction = True

    def ended(self, end_lsn: int, committed_at: float) -> None:
        """The transaction that ends at `end_lsn` has no more messages."""
        self.in_transaction = False
        self._ended.append((self.sent, end_lsn, committed_at))

    def advance(self, acknowledged: int) -> list[float]:
        """Move `confirmed`, now that so many messages are acknowledged; the commit times of the
        transactions that it passed, in seconds since 1970."""
        passed = []
        while self._ended and self._ended[0][0] <= acknowledged:
            _, end_lsn, committed_at = self._ended.popleft()
            self.confirmed = max(self.confirmed, end_lsn)
            passed.append(committed_at)
        return passed

    def keepalive(self, wal_end: int) -> None:
        """The server's WAL has nothing for us up to here: confirm it if nothing is in flight."""
        if self.idle:
            self.confirmed = max(self.confirmed, wal_end)
