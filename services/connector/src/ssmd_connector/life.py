"""One publisher's life of MARKET_DATA: what the receiver hears goes to the stream, beginning with
what the stream does not have of it, until something breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

import nats.errors
import structlog

from ssmd_common.health import Health
from ssmd_common.tasks import raise_if_cancelled
from ssmd_connector.outbox import Drops, Outbox
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.pipe import COUNT_SECONDS, Pipe
from ssmd_connector.receiver import Receiver
from ssmd_connector.repair import Interval, Repair, owed
from ssmd_connector.seen import Known, Seen, Tail
from ssmd_kalshi.errors import KalshiError
from ssmd_kalshi.marketdata import TICKER, TRADE
from ssmd_kalshi.rest import KalshiRest
from ssmd_stream.errors import ReaderBroken, StreamGap, StreamUnavailable
from ssmd_stream.market.messages import time_text
from ssmd_stream.publish.publisher import Publisher
from ssmd_stream.stream import Stream

REMEMBERED: Final = timedelta(minutes=15)
"""A start reads trades again over REST from the stream's last message on, and so long at most."""
LATE: Final = timedelta(seconds=5)
"""What was sent before the stream's last message may have come behind it."""
_RETRY_SECONDS: Final = 5.0
_LATER: Final = (KalshiError, StreamUnavailable, StreamGap, ReaderBroken, nats.errors.Error)
"""A repair that ends so is tried again."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Life:
    """From a takeover to the next end. All of it runs in `run`."""

    def __init__(
        self,
        receiver: Receiver,
        rest: KalshiRest,
        stream: Stream,
        outbox: Outbox,
        publisher: Publisher[MarketOutgoing],
        seen: Seen,
        health: Health,
        *,
        left: Sequence[MarketOutgoing] = (),
        count_seconds: float = COUNT_SECONDS,
    ) -> None:
        """`left` is what an earlier life of this process did not bring into the stream."""
        self._receiver = receiver
        self._capture = receiver.capture
        self._rest = rest
        self._stream = stream
        self._seen = seen
        self._left = list(left)
        self.owing: Interval | None = None
        """What is to be read again next; many holes are one, since there may be one a millisecond
        while the exchange's REST does not answer."""
        self._owes = asyncio.Event()
        self._last_at: datetime | None = None
        self._took_over = datetime.min.replace(tzinfo=UTC)
        self._begins: datetime | None = None
        """From when on trades are read again because this life began."""
        self.pipe = Pipe(
            outbox,
            publisher,
            health,
            captures=lambda: [self._capture],
            came_back=self._came_back,
            count_seconds=count_seconds,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Take over, publish until `stop`, then flush.

        Raises:
            ExceptionGroup: of what ended the publisher or NATS.
            As `Tail.read`.
        """
        first = min(
            (m.received_at for m in (*self._left, *self._receiver.backlog.first)),
            default=datetime.now(UTC),
        )
        tail = await Tail.read(self._stream, first)
        self._take_over(tail, first)
        try:
            await self.pipe.run(stop, [("repair", self._repair()), ("hearing", self._hear())])
        finally:
            self._receiver.sink = None

    async def _hear(self) -> None:
        """Until the stop: what comes after the last record is not published, and a flush that takes
        in what comes meanwhile has no end."""
        try:
            await asyncio.Event().wait()
        finally:
            self._receiver.sink = None

    def left(self) -> list[MarketOutgoing]:
        """What the next life has to look for in the stream."""
        return [*self._left, *self.pipe.left()]

    # --- what the receiver hands on ---------------------------------------------------------------

    def put(self, message: MarketOutgoing) -> None:
        """Publish it, a trade only where the stream does not have it."""
        # Nearly all are quotes.
        if not message.trade_id:
            self.pipe.put(message, self._capture)
        elif message.trade_id not in self._seen:
            self._publish(message)

    def hole(self, since: datetime | None, until: datetime) -> None:
        """Read the trades between these again; before this process since what the stream has."""
        since = since or self._last_at
        if since is not None:
            self._owe(Interval(max(since, until - REMEMBERED), until))

    def _owe(self, interval: Interval) -> None:
        self.owing = interval if self.owing is None else self.owing.joined(interval)
        self._owes.set()

    def _publish(self, message: MarketOutgoing) -> None:
        if self.pipe.put(message, self._capture) and message.trade_id:
            self._seen.add(message.trade_id, message.received_at)

    # --- takeover ---------------------------------------------------------------------------------

    def _take_over(self, tail: Tail, since: datetime) -> None:
        """From the stream's end on: what it lacks of the last seconds, then what comes."""
        receiver, capture, now = self._receiver, self._capture, datetime.now(UTC)
        backlog = receiver.backlog
        seen, self._last_at = self._seen, tail.last_at
        if seen.since is None or seen.since > since:
            seen.since = since
        for trade_id in tail.trades:
            seen.add(trade_id, now)
        missing = backlog.missing(self._left, tail)
        capture.restart_counts()
        for message in missing:
            if message.type != "session" and message.id.startswith(capture.session):
                capture.note_published(message.type)
            # Also what was handed over before and did not get there.
            self._publish(message)
        if capture.session:
            whole = backlog.whole_since
            since_text = None if whole is None else time_text(whole)
            self.put(capture.record("takeover", now, since=since_text))
            if capture.left_out is not None:
                capture.left_out.tell_all()
            for record in capture.scope(now, since=since_text):
                self.put(record)
            if whole is not None and tail.last_at is not None and tail.last_at < whole:
                for channel in (TRADE, TICKER):
                    self.put(capture.hole(channel, tail.last_at, whole, "takeover"))
        self._left.clear()
        backlog.clear()
        receiver.sink = self
        self._took_over = now
        if tail.last_at is not None:
            self._begins = min(tail.last_at, since) - LATE
            self.hole(self._begins, now)
        log.info("took over", missing=len(missing), last_message_at=tail.last_at)

    # --- repairs ----------------------------------------------------------------------------------

    def _came_back(self, drops: Drops) -> None:
        if drops.since is not None and drops.until is not None:
            self._owe(Interval(drops.since, drops.until))

    async def _repaired(self, interval: Interval) -> None:
        repair = Repair(
            interval,
            self._rest,
            self._capture,
            partial(Known, self._seen, self._stream, lambda: self.pipe.oldest),
            self.pipe.outbox.has_room,
            self.put,
        )
        await _until_it_goes(repair.run)
        log.info("trades were read again", missing=repair.published)

    async def _owed(self) -> list[Interval]:
        """What earlier publishers ended before they had read it again."""
        if self._begins is None:
            return []
        # Also those that are told of only now: by who heard them while nobody published.
        await self.pipe.stored(self._took_over)
        since = datetime.now(UTC) - REMEMBERED
        return await owed(self._stream, self._capture.connector, Interval(since, self._begins))

    async def _repair(self) -> None:
        for interval in await _until_it_goes(self._owed):
            await self._repaired(interval)
        while True:
            await self._owes.wait()
            self._owes.clear()
            following, self.owing = self.owing, None
            if following is not None:
                await self._repaired(following)


async def _until_it_goes(work: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            found = await work()
            # nats-py may lose a cancellation.
            raise_if_cancelled()
            return found
        except _LATER as error:
            raise_if_cancelled()
            log.warning("trades cannot be read again yet", reason=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
