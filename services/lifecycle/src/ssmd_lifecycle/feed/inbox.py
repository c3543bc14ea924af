"""Messages between the socket and PostgreSQL: bounded, and remembered while on standby.

A standby replica keeps the last minute of messages. When it takes over it stores those that the
former leader did not: what that one died with is not lost.
"""

import asyncio
from collections import deque
from datetime import datetime, timedelta
from typing import Final

from ssmd_lifecycle.feed.messages import LifecycleMessage

REMEMBERED: Final = timedelta(seconds=60)


class Inbox:
    """One producer, one consumer."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: deque[LifecycleMessage] = deque()
        self._standby = True
        self._room = asyncio.Event()
        self._filled = asyncio.Event()
        self._room.set()
        self._taken_at: datetime | None = None

    def __len__(self) -> int:
        return len(self._messages)

    def is_behind(self, moment: datetime) -> bool:
        """Whether a message that arrived by `moment` may not be recorded yet."""
        waiting = self._messages[0].received_at if self._messages else None
        oldest_at = self._taken_at or waiting
        return oldest_at is not None and oldest_at <= moment

    async def put(self, message: LifecycleMessage) -> None:
        """Add a message; waits while the inbox is full, unless it only remembers."""
        if self._standby:
            self._messages.append(message)
            self._forget(message.received_at - REMEMBERED)
            return
        while len(self._messages) >= self._limit:
            self._room.clear()
            await self._room.wait()
        self._messages.append(message)
        self._filled.set()

    def lead(self) -> list[LifecycleMessage]:
        """From now on every message waits to be taken; returns those remembered so far."""
        self._standby = False
        remembered = list(self._messages)
        self._messages.clear()
        return remembered

    async def take(self, most: int) -> list[LifecycleMessage]:
        """What has come, in its order: at least one message, at most `most`; `done` when they are
        recorded."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        return self.take_now(most)

    def take_now(self, most: int) -> list[LifecycleMessage]:
        """Like `take`, without waiting: maybe nothing."""
        count = min(most, len(self._messages))
        taken = [self._messages.popleft() for _ in range(count)]
        self._taken_at = taken[0].received_at if taken else None
        self._room.set()
        return taken

    def done(self) -> None:
        """What was taken is recorded."""
        self._taken_at = None

    def _forget(self, before: datetime) -> None:
        while self._messages and (
            self._messages[0].received_at < before or len(self._messages) > self._limit
        ):
            self._messages.popleft()
