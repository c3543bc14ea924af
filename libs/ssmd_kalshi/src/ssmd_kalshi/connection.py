"""One WebSocket connection that knows when things arrived, and hands frames over many at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event


class Connection(ClientConnection):
    """Notes when anything arrives. The library answers pings but tells nobody about them, and a
    slow consumer gets its frames long after they came.

    Messages wait here and not in the library's queue, which takes as much time for each as all
    else: at most `most_frames` and what came with the last of them, then TCP holds the peer back.
    """

    arrived_at: float = 0.0
    arrived_time: datetime | None = None
    most_frames: int = 2048

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._messages: deque[tuple[bytes, datetime]] = deque()
        self._parts: list[bytes] = []
        self._is_paused = False
        self._is_lost = False
        self._waiter: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        self.arrived_at = self.loop.time()
        self.arrived_time = datetime.now(UTC)
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        assert self.arrived_time is not None
        raw = bytes(event.data)
        if self._parts or not event.fin:
            self._parts.append(raw)
            if not event.fin:
                return
            raw = b"".join(self._parts)
            self._parts.clear()
        self._messages.append((raw, self.arrived_time))
        if len(self._messages) >= self.most_frames and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._is_lost = True
        self._wake()

    @property
    def holds_frames(self) -> bool:
        """Whether a message has arrived that was not received yet."""
        return bool(self._messages)

    def take(self) -> tuple[bytes, datetime]:
        """The next of the messages that have arrived, and when. IndexError: there is none."""
        message = self._messages.popleft()
        if self._is_paused and len(self._messages) <= self.most_frames // 4:
            self._is_paused = False
            self.transport.resume_reading()
        return message

    async def arrival(self) -> None:
        """Wait until a message is there. May be cancelled without losing anything.

        Raises:
            ConnectionClosed: none will come any more.
        """
        while not self._messages:
            if self._is_lost:
                # It raises what the connection ended with.
                await self.recv()
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
