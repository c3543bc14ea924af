"""One WebSocket connection that knows when things arrived, and hands frames over many at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import OPEN, Event

from ssmd_kalshi.wholeframes import split

_END_OF_HANDSHAKE = b"\r\n\r\n"


class Connection(ClientConnection):
    """Notes when anything arrives. The library answers pings but tells nobody about them, and a
    slow consumer gets its frames long after they came.

    Messages wait here and not in the library's queue: at most `most_frames` and what came with the
    last of them, then TCP holds the peer back. Those of one frame do not pass through the library's
    parser, which takes as long for each as all else; what is anything else does, a whole frame at a
    time (`ssmd_kalshi.wholeframes`).
    """

    arrived_at: float = 0.0
    arrived_time: datetime | None = None
    most_frames: int = 2048
    max_frame_bytes: int = 4 * 1024 * 1024

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._messages: deque[tuple[bytes, datetime]] = deque()
        self._parts: list[bytes] = []
        self._tail = b""
        self._is_direct: bool | None = None
        """None until the handshake is over; false: the library reads everything."""
        self._is_paused = False
        self._is_lost = False
        self._waiter: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        self.arrived_at = self.loop.time()
        self.arrived_time = datetime.now(UTC)
        if not self._is_direct or self.protocol.state is not OPEN:
            self._by_the_library(data)
            return
        found = split(self._tail + data if self._tail else data, self.max_frame_bytes)
        self._tail = found.tail
        for raw, is_message in found.frames:
            if is_message and not self._parts:
                self._put(raw)
            else:
                super().data_received(raw)
        if found.is_beyond:
            # The library says what is wrong, and closes.
            self._by_the_library(self._tail)
            self._tail, self._is_direct = b"", False

    def _by_the_library(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_direct is None and self.protocol.state is OPEN:
            # Nothing of a frame has come with the end of the handshake: there it begins.
            self._is_direct = data.endswith(_END_OF_HANDSHAKE)

    def process_event(self, event: Event) -> None:
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        raw = bytes(event.data)
        if self._parts or not event.fin:
            self._parts.append(raw)
            if not event.fin:
                return
            raw = b"".join(self._parts)
            self._parts.clear()
        self._put(raw)

    def _put(self, raw: bytes) -> None:
        assert self.arrived_time is not None
        self._messages.append((raw, self.arrived_time))
        if len(self._messages) >= self.most_frames and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        if self._waiter is not None:
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
