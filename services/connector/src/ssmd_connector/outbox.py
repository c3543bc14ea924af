"""Messages between a socket and a publisher: bounded, and counted when there is no room.

NATS away: the socket is read on, since what is not read is lost. The room fills, and then whole
channels are dropped, first quotes, then books, then trades: the next quote says what the last one
did, a book begins with a new snapshot, and dropped trades are read again over REST. Records of the
capture are few and always kept. Outboxes of one process share their room, and each has a little of
its own: one whose stream takes nothing must not cost another one its quotes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime

from ssmd_connector.outgoing import MarketOutgoing

DROPPED_ABOVE = {"ticker": 0.6, "book": 0.8, "trade": 1.0, "unreadable": 1.0}
"""The share of the room from which on a channel is dropped."""
_FILLING = 0.5
"""Below all of these."""
TAKEN_AGAIN_BELOW = 0.3
"""The share below which all are taken again: a channel is dropped for a while, not here and there.
"""
OWN = 0.1
"""The share that each outbox has to itself, beyond the room where others fill it."""


@dataclass(frozen=True, slots=True)
class Drops:
    """What was dropped since somebody asked last, between when; trades between these two times."""

    counts: dict[str, int]
    since: datetime | None
    until: datetime | None


@dataclass(slots=True)
class Room:
    """So many messages and bytes wait at most, in all outboxes together."""

    max_messages: int
    max_bytes: int
    messages: int = 0
    size: int = 0

    @property
    def is_filling(self) -> bool:
        """Whether it is so full that something may have to be dropped."""
        return self.messages > self.max_messages * _FILLING or self.size > self.max_bytes * _FILLING

    def share(self, messages: int, size: int) -> float:
        """How much of it these are, 1 is all."""
        return max(messages / self.max_messages, size / self.max_bytes)


@dataclass(slots=True)
class Outbox:
    """What waits for one publisher."""

    room: Room
    _messages: deque[MarketOutgoing] = field(default_factory=deque)
    _size: int = 0
    _filled: asyncio.Event = field(default_factory=asyncio.Event)
    _taken: asyncio.Event = field(default_factory=asyncio.Event)
    _refused: set[str] = field(default_factory=set)
    _drops: Counter[str] = field(default_factory=Counter)
    _since: datetime | None = None
    _until: datetime | None = None

    @property
    def oldest(self) -> MarketOutgoing | None:
        """The message that waits longest."""
        return self._messages[0] if self._messages else None

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: MarketOutgoing) -> bool:
        """False where it is dropped."""
        room, kind = self.room, message.type
        # The usual case first: this is asked for each message.
        if (self._refused or room.is_filling) and self._is_dropped(message):
            self._refused.add(kind)
            self._drops[kind] += 1
            if kind == "trade" and message.at is not None:
                self._since = min(self._since or message.at, message.at)
                self._until = max(self._until or message.at, message.at)
            return False
        if not self._messages:
            self._filled.set()
        self._messages.append(message)
        room.messages += 1
        room.size += (size := len(message.payload))
        self._size += size
        return True

    @property
    def _share(self) -> float:
        """How full the room is for this outbox."""
        room = self.room
        if room.share(len(self._messages), self._size) < OWN:
            return 0.0
        return room.share(room.messages, room.size)

    def _is_dropped(self, message: MarketOutgoing) -> bool:
        limit = DROPPED_ABOVE.get(message.type)
        return limit is not None and (message.type in self._refused or self._share >= limit)

    async def take(self, most: int) -> list[MarketOutgoing]:
        """The next messages, once there is any."""
        await self._filled.wait()
        return self._out(min(most, len(self._messages)))

    def empty(self) -> list[MarketOutgoing]:
        """All that waits."""
        return self._out(len(self._messages))

    def _out(self, count: int) -> list[MarketOutgoing]:
        messages = [self._messages.popleft() for _ in range(count)]
        self.room.messages -= count
        size = sum([len(message.payload) for message in messages])
        self.room.size -= size
        self._size -= size
        if not self._messages:
            self._filled.clear()
        self._taken.set()
        return messages

    @property
    def refused(self) -> frozenset[str]:
        """The channels that are dropped now."""
        return frozenset(self._refused)

    async def has_room(self) -> None:
        """Wait until a trade would be taken, with some to spare."""
        while self._share >= TAKEN_AGAIN_BELOW or "trade" in self._refused:
            self._taken.clear()
            await self._taken.wait()

    def drops(self, *, at_the_end: bool = False) -> Drops | None:
        """What was dropped, once there is room again, or because nothing more will be taken."""
        if not self._refused or (self._share >= TAKEN_AGAIN_BELOW and not at_the_end):
            return None
        found = Drops(dict(self._drops), self._since, self._until)
        self._refused.clear()
        self._drops.clear()
        self._since = self._until = None
        self._taken.set()
        return found
