"""One publisher's life: what the socket says goes to the stream until something breaks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common.health import Health
from ssmd_connector import metrics
from ssmd_connector.capture import Capture, MarketOutgoing
from ssmd_connector.outbox import Outbox
from ssmd_connector.repair import Interval, repaired
from ssmd_connector.seen import Seen
from ssmd_kalshi.errors import KalshiError
from ssmd_kalshi.feed import Connected, Disconnected, FeedEvent, Gap, Subscribed
from ssmd_kalshi.marketdata import TRADE
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.socket import KalshiSocket
from ssmd_stream.publish.publisher import Publisher

COUNT_SECONDS: Final = 5.0
REMEMBERED: Final = timedelta(minutes=15)
"""Of the stream's trades; a start that comes later than this after the last one repairs no more."""
_BATCH: Final = 500
_RETRY_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


class Life:
    """Reads one socket, publishes, repairs. All of it runs in `run`."""

    def __init__(
        self,
        socket: KalshiSocket,
        rest: KalshiRest,
        capture: Capture,
        outbox: Outbox,
        publisher: Publisher[MarketOutgoing],
        seen: Seen,
        *,
        count_seconds: float = COUNT_SECONDS,
        health: Health,
    ) -> None:
        self._socket = socket
        self._rest = rest
        self._capture = capture
        self._outbox = outbox
        self._publisher = publisher
        self._seen = seen
        self._count_seconds = count_seconds
        self._health = health
        self._repairs: asyncio.Queue[Interval] = asyncio.Queue()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, then flush; an error of any part ends all.

        Raises:
            ExceptionGroup: of what ended the publisher, the socket or NATS.
        """
        async with asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(self._publisher.run(), name="publisher")
            others = [
                tasks.create_task(self._read(), name="socket"),
                tasks.create_task(self._count(), name="count"),
                tasks.create_task(self._repair(), name="repair"),
            ]
            sending = tasks.create_task(self._send(), name="sender")
            await stop.wait()
            for task in others:
                task.cancel()
            self._put(self._capture.count(datetime.now(UTC)))
            self._put(self._capture.record("closed", datetime.now(UTC), reason="stopped"))
            while len(self._outbox):
                await asyncio.sleep(0)
                await self._publisher.drained()
            sending.cancel()
            await self._publisher.drained()
            publishing.cancel()

    def take(self, event: FeedEvent) -> None:
        """Hand an event's messages on; remember what has to be repaired."""
        for message in self._capture.take(event):
            self._put(message)
        if isinstance(event, Gap) and event.channel == TRADE:
            since = event.since
            if since is None:
                # The start of this process: since what the stream has.
                since = self._seen.last
            if since is not None:
                self._repairs.put_nowait(Interval(since, event.until))
        elif isinstance(event, Connected):
            log.info("connected to the exchange", session=self._capture.session)

    def _put(self, message: MarketOutgoing) -> None:
        if not self._outbox.put(message):
            self._capture.note_dropped(message.type)
            metrics.DROPPED.labels(message.type).inc()
        elif message.trade_id:
            self._seen.add(message.trade_id)

    async def _read(self) -> None:
        async for event in self._socket:
            self.take(event)
            if isinstance(event, Subscribed | Disconnected):
                lost = (
                    None
                    if self._socket.subscribed
                    else "the exchange's WebSocket is not subscribed"
                )
                self._health.set("exchange", lost)

    async def _send(self) -> None:
        while True:
            batch = await self._outbox.take(_BATCH)
            await self._publisher.send(batch)

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(self._count_seconds)
            now = datetime.now(UTC)
            self._health.progress()
            metrics.OUTBOX.set(len(self._outbox))
            self._publisher.report()
            if self._capture.session:
                self._put(self._capture.count(now))
            if (drops := self._outbox.drops()) is not None:
                self._put(self._capture.dropped(drops.counts, now, "no room: NATS is away or slow"))
                if drops.since is not None and drops.until is not None:
                    self._repairs.put_nowait(Interval(drops.since, drops.until))

    async def _repair(self) -> None:
        while True:
            interval = await self._repairs.get()
            while True:
                try:
                    found = await repaired(
                        interval,
                        self._rest,
                        self._capture,
                        self._seen,
                        self._outbox.room,
                        self._put,
                    )
                except KalshiError as error:
                    log.warning("trades cannot be read again yet", reason=str(error))
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    log.info("trades were read again", missing=found)
                    break
