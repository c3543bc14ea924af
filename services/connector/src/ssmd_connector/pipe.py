"""The way out to one stream: outbox → publisher, with counts of the capture, until a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ssmd_common.health import Health
from ssmd_common.tasks import end
from ssmd_connector import metrics
from ssmd_connector.capture import Capture
from ssmd_connector.outbox import Drops, Outbox
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_stream.publish.publisher import Publisher

COUNT_SECONDS: Final = 5.0
_BATCH: Final = 500
_TURN_SECONDS: Final = 0.005
_LOOK_SECONDS: Final = 0.1


class Pipe:
    """What one publisher's life needs whatever it publishes."""

    def __init__(
        self,
        outbox: Outbox,
        publisher: Publisher[MarketOutgoing],
        health: Health,
        *,
        captures: Callable[[], Iterable[Capture]],
        came_back: Callable[[Drops], None],
        count_seconds: float = COUNT_SECONDS,
    ) -> None:
        """`captures` are the sessions that are counted; `came_back` is told of what was dropped,
        once there is room again."""
        self.outbox = outbox
        self.publisher = publisher
        self._health = health
        self._captures = captures
        self._came_back = came_back
        self._count_seconds = count_seconds
        self._batch: list[MarketOutgoing] = []
        self.dropped = 0
        """Messages that found no room."""

    @property
    def waiting(self) -> int:
        """Messages that are not in the stream yet."""
        return self.publisher.in_flight + len(self._batch) + len(self.outbox)

    @property
    def oldest(self) -> datetime | None:
        """When the first of them came; None where none waits."""
        first = self.publisher.oldest or next(iter(self._batch), None) or self.outbox.oldest
        return None if first is None else first.received_at

    def put(self, message: MarketOutgoing, capture: Capture) -> bool:
        """False where there is no room; it is counted."""
        if self.outbox.put(message):
            return True
        self.dropped += 1
        capture.note_dropped(message.type)
        metrics.DROPPED.labels(message.type).inc()
        return False

    async def run(
        self, stop: asyncio.Event, others: Sequence[tuple[str, Coroutine[Any, Any, None]]]
    ) -> None:
        """Publish until `stop`, then end the others, say so and flush; an error of any part ends
        all.

        Raises:
            ExceptionGroup: of what ended the publisher or one of the others.
        """
        async with asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(self.publisher.run(), name="publisher")
            beside = [tasks.create_task(self._count(), name="count")]
            beside += [tasks.create_task(work, name=name) for name, work in others]
            sending = tasks.create_task(self._send(), name="sender")
            await stop.wait()
            # Of a quiet exchange the last count would end with its last ping.
            sockets = [one.socket for one in self._captures() if one.socket is not None]
            await asyncio.gather(*[socket.ask() for socket in sockets])
            await end(*beside)
            now = datetime.now(UTC)
            for capture in self._captures():
                if capture.session:
                    for record in capture.counts(now):
                        self.put(record, capture)
                    self.put(capture.record("closed", now, reason="stopped"), capture)
            while len(self.outbox) or self._batch:
                await asyncio.sleep(_TURN_SECONDS)
                await self.publisher.drained()
            sending.cancel()
            await self.publisher.drained()
            publishing.cancel()

    def left(self) -> list[MarketOutgoing]:
        """What was handed over and is not known to be in the stream, after `run` has ended."""
        drops = self.outbox.drops(at_the_end=True)
        told = [] if drops is None else self._told(drops, datetime.now(UTC))
        # Of the batch a part may have been handed over: it is there twice then, or in the stream.
        left = [*self.publisher.unacknowledged, *self._batch, *self.outbox.empty()]
        return [*left, *(record for _, record in told)]

    async def stored(self, until: datetime) -> None:
        """Wait until all that came up to then is in the stream."""
        while (oldest := self.oldest) is not None and oldest <= until:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(_LOOK_SECONDS)

    def _told(self, drops: Drops, at: datetime) -> list[tuple[Capture, MarketOutgoing]]:
        """Records of what was dropped, of each session."""
        return [
            (capture, capture.dropped(drops.counts, at, "no room: NATS is away or slow"))
            for capture in self._captures()
            if capture.session
        ]

    async def _send(self) -> None:
        while True:
            self._batch = await self.outbox.take(_BATCH)
            await self.publisher.send(self._batch)
            self._batch = []

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(self._count_seconds)
            now = datetime.now(UTC)
            self._health.progress()
            metrics.OUTBOX.set(self.outbox.room.messages)
            self.publisher.report()
            drops = self.outbox.drops()
            if drops is not None:
                for capture, record in self._told(drops, now):
                    self.put(record, capture)
            for capture in self._captures():
                if capture.session:
                    for record in capture.counts(now):
                        self.put(record, capture)
            if drops is not None:
                self._came_back(drops)
