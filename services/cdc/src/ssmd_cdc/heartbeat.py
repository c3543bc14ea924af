"""How far behind the publisher is, by marks in the WAL and the time until they are confirmed."""

import secrets
from collections import deque
from dataclasses import dataclass, field
from itertools import count


@dataclass(slots=True)
class Heartbeats:
    """Marks of this process only; times are monotonic seconds given by the caller."""

    round_trip: float | None = None
    _name: str = field(default_factory=lambda: secrets.token_hex(8))
    _numbers: "count[int]" = field(default_factory=count)
    _sent: dict[str, float] = field(default_factory=dict)
    _seen: str | None = None
    _ended: deque[tuple[int, str]] = field(default_factory=deque)

    def mark(self, now: float) -> str:
        """The content of a new mark, to be written to the WAL now."""
        content = f"{self._name}:{next(self._numbers)}"
        self._sent[content] = now
        return content

    def forget(self, content: str) -> None:
        """It could not be written: nobody waits for it."""
        self._sent.pop(content, None)

    def saw(self, content: str) -> None:
        """The mark came back, inside the transaction that is being read."""
        if content in self._sent:
            self._seen = content

    def ended(self, end_lsn: int) -> None:
        """That transaction ended."""
        if self._seen is not None:
            self._ended.append((end_lsn, self._seen))
            self._seen = None

    def confirmed(self, lsn: int, now: float) -> None:
        """All before `lsn` is in the stream."""
        while self._ended and self._ended[0][0] <= lsn:
            _, content = self._ended.popleft()
            sent = self._sent.pop(content, None)
            if sent is not None:
                self.round_trip = now - sent

    def lag_seconds(self, now: float) -> float | None:
        """The age of the oldest mark that is under way, or the last round trip; None before one."""
        if not self._sent:
            return self.round_trip
        under_way = now - min(self._sent.values())
        # A mark that is only just written says nothing yet.
        return under_way if self.round_trip is None else max(under_way, self.round_trip)
