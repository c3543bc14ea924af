"""How far behind the publisher is, by marks in the WAL and the time until they are confirmed."""

import secrets
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from ssmd_cdc.errors import MarksMissing

STILL_SECONDS: Final = 60.0


@dataclass(slots=True)
class Heartbeats:
    """Marks of this process only; times are monotonic seconds given by the caller."""

    round_trip: float | None = None
    _name: str = field(default_factory=lambda: secrets.token_hex(8))
    _numbers: "count[int]" = field(default_factory=count)
    _sent: dict[str, float] = field(default_factory=dict)
    _awaited: dict[str, int | None] = field(default_factory=dict)
    """Marks that have not come back, in order: an LSN behind each, once it is known."""
    _seen: str | None = None
    _ended: deque[tuple[int, str]] = field(default_factory=deque)

    def mark(self, now: float) -> str:
        """The content of a new mark, to be written to the WAL now."""
        content = f"{self._name}:{next(self._numbers)}"
        self._sent[content] = now
        self._awaited[content] = None
        return content

    def wrote(self, content: str, lsn: int) -> None:
        """The mark is committed, before `lsn`."""
        if content in self._awaited:
            self._awaited[content] = lsn

    def forget(self, content: str) -> None:
        """It could not be written: nobody waits for it."""
        self._sent.pop(content, None)
        self._awaited.pop(content, None)

    def awaited(self) -> int | None:
        """An LSN behind the oldest mark that has not come back; None if there is none."""
        return next(iter(self._awaited.values()), None)

    def saw(self, content: str) -> None:
        """The mark came back, inside the transaction that is being read."""
        self._awaited.pop(content, None)
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


class Return:
    """Whether the marks come back through the slot; a session where they do not has to end."""

    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats
        self._wal_end = 0
        self._seen: object = None
        self._still_seconds = 0.0

    def passed(self, wal_end: int) -> None:
        """All that was committed before `wal_end` has come.

        Raises:
            MarksMissing: a mark has not.
        """
        self._wal_end = wal_end
        awaited = self._heartbeats.awaited()
        if awaited is not None and awaited < wal_end:
            raise MarksMissing(
                "a mark that was written to the WAL did not come back through the slot: the two "
                "connections are on different servers"
            )

    def turn(self, moved: object, seconds: float, *, rests: bool) -> None:
        """Note how far the session is, `seconds` after the last note of it.

        Not by the clock: by what we are late ourselves nothing is still. A slot that reads a huge
        transaction sends nothing for long, but that it moves. `rests`: there is a reason not to.

        Raises:
            MarksMissing: nothing has moved for a minute although marks were written.
        """
        seen = moved, self._wal_end
        still = seen == self._seen and not rests and self._heartbeats.awaited() is not None
        self._still_seconds = self._still_seconds + seconds if still else 0.0
        self._seen = seen
        if self._still_seconds >= STILL_SECONDS:
            raise MarksMissing(
                f"the slot has sent nothing for {STILL_SECONDS:g} s although marks were written to "
                "the WAL"
            )
