"""How far the connector is, for `service_status`: what is subscribed, what waits for NATS."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

from ssmd_common.health import Health
from ssmd_connector.bookreceiver import BookReceiver
from ssmd_connector.pipe import Pipe
from ssmd_connector.receiver import Receiver

_SECONDS: Final = 1.0


class Position:
    """Of one process, whether it leads or stands by; `pipes` are of the streams that it publishes
    to now, by name."""

    def __init__(self, health: Health, receiver: Receiver | None, books: BookReceiver) -> None:
        self.pipes: dict[str, Pipe] = {}
        self._health = health
        self._receiver = receiver
        self._lines = books.lines

    async def run(self) -> None:
        """Tell it until it is cancelled."""
        while True:
            self.tell(datetime.now(UTC))
            await asyncio.sleep(_SECONDS)

    def tell(self, now: datetime) -> None:
        """As it is now; the lag is the age of the oldest message that is not in its stream."""
        receiver, lines, pipes = self._receiver, self._lines, self.pipes.values()
        captures = [line.capture for line in lines.lines]
        connected = sum(line.socket.connected for line in lines.lines)
        found: dict[str, Any] = {}
        if receiver is not None:
            captures.append(receiver.capture)
            connected += receiver.socket.connected
            wanted, confirmed = receiver.channels
            found = {"channels_wanted": wanted, "channels_confirmed": confirmed}
        found |= {
            "books_wanted": lines.wanted,
            "books_confirmed": lines.confirmed,
            "books_without_place": len(lines.without_place),
            "connections": connected,
            "gaps": sum(capture.gaps for capture in captures),
        }
        if pipes:
            found["waiting"] = sum(pipe.waiting for pipe in pipes)
            found["dropped"] = sum(pipe.dropped for pipe in pipes)
        for stream, pipe in self.pipes.items():
            found[stream] = pipe.publisher.acknowledged.sequence
        self._health.position = found
        oldest = min((at for pipe in pipes if (at := pipe.oldest) is not None), default=now)
        self._health.lag_seconds = max((now - oldest).total_seconds(), 0.0) if pipes else None
