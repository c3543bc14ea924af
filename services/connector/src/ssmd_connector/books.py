"""One publisher's life of a shard's books: what the receiver hears goes to the stream, each book
beginning with a new snapshot, until something breaks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from ssmd_common.health import Health
from ssmd_connector import metrics
from ssmd_connector.bookreceiver import BookReceiver
from ssmd_connector.capture import Capture
from ssmd_connector.outbox import Drops, Outbox
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.pipe import COUNT_SECONDS, Pipe
from ssmd_connector.seen import last_at
from ssmd_stream.publish.publisher import Publisher
from ssmd_stream.stream import Stream

log = structlog.get_logger(__name__)


class BooksLife:
    """From a takeover to the next end. All of it runs in `run`."""

    def __init__(
        self,
        receiver: BookReceiver,
        stream: Stream,
        outbox: Outbox,
        publisher: Publisher[MarketOutgoing],
        health: Health,
        *,
        count_seconds: float = COUNT_SECONDS,
    ) -> None:
        self._lines = receiver.lines
        self._stream = stream
        self._health = health
        self._count_seconds = count_seconds
        self.pipe = Pipe(
            outbox,
            publisher,
            health,
            captures=lambda: self._lines.captures,
            came_back=self._came_back,
            count_seconds=count_seconds,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Take over, publish until `stop`, then flush.

        Raises:
            ExceptionGroup: of what ended the publisher or NATS.
            As `Stream.last`.
        """
        since = await last_at(self._stream)
        try:
            self._lines.begin(self._publish, since, datetime.now(UTC))
            log.info("took over the books", books=self._lines.confirmed, last_message_at=since)
            others = [("hearing", self._hear()), ("report", self._report())]
            await self.pipe.run(stop, others)
        finally:
            self._lines.end()
            # It would be published by nobody: the next life begins with snapshots.
            self.pipe.outbox.empty()

    def _publish(self, message: MarketOutgoing, capture: Capture) -> None:
        self.pipe.put(message, capture)

    def _came_back(self, drops: Drops) -> None:
        """Books of which something was dropped begin anew."""
        if "book" in drops.counts:
            self._lines.renew()

    async def _hear(self) -> None:
        """Until the stop: what is said after the last record is not published."""
        try:
            await asyncio.Event().wait()
        finally:
            self._lines.end()

    async def _report(self) -> None:
        lines = self._lines
        while True:
            await asyncio.sleep(self._count_seconds)
            metrics.BOOKS_WANTED.set(lines.wanted)
            metrics.BOOKS_CONFIRMED.set(lines.confirmed)
            metrics.BOOKS_WITHOUT_PLACE.set(len(lines.without_place))
            reason = None
            if count := len(lines.without_place):
                reason = (
                    f"{count} books found no place: every connection is full; raise "
                    "CONNECTOR_BOOK_CONNECTIONS or choose fewer"
                )
            self._health.degrade("books", reason)
