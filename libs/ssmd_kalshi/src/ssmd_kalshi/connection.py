"""One WebSocket connection that knows when things arrived."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event


class Connection(ClientConnection):
    """Notes when anything arrives. The library answers pings but tells nobody about them, and a
    slow consumer gets its frames long after they came."""

    arrived_at: float = 0.0
    arrived_time: datetime | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._arrivals: deque[datetime] = deque()

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame):
            self.arrived_at = self.loop.time()
            self.arrived_time = datetime.now(UTC)
            if event.opcode in DATA_OPCODES and event.fin:
                self._arrivals.append(self.arrived_time)
        super().process_event(event)

    @property
    def holds_frames(self) -> bool:
        """Whether a message has arrived that was not received yet."""
        return bool(self._arrivals)

    async def receive(self) -> tuple[bytes, datetime]:
        """The next message and when it arrived. May be cancelled without losing anything."""
        raw = await self.recv(decode=False)
        return raw, self._arrivals.popleft()
