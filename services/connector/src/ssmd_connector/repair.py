"""Trades of an interval that may have been missed, over REST, once each."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from ssmd_connector import metrics
from ssmd_connector.capture import Capture, new_session
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.seen import Known, stored
from ssmd_kalshi.marketdata import trade_of_rest
from ssmd_kalshi.pages import Page
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.wire import REJECTED_FIELD, UNKNOWN_FIELD, WireTrade
from ssmd_stream.market import subjects
from ssmd_stream.market.coverage import TRADE, Coverage, State, of_datetime
from ssmd_stream.market.messages import SessionRecord, time_text
from ssmd_stream.market.timeline import Span
from ssmd_stream.stream import Stream

PART: Final = timedelta(minutes=1)
"""So much is read at once: what the stream has of it is remembered meanwhile."""
MARGIN_SECONDS: Final = 2
"""On either side: whether the bounds count is not known, and clocks differ."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Interval:
    """What may be missing was sent between these."""

    since: datetime
    until: datetime

    def joined(self, other: Interval) -> Interval:
        """From the first to the last of both."""
        return Interval(min(self.since, other.since), max(self.until, other.until))

    def parts(self) -> Iterator[Interval]:
        """The same in pieces of `PART` at most, the first one first."""
        since = self.since
        while self.until - since > PART:
            yield Interval(since, since + PART)
            since += PART
        yield Interval(since, self.until)


class Repair:
    """Publishes the trades of an interval that the stream does not have.

    However long the interval is, no more is held than a page of it and the ids that the stream has
    of a part. The parts come in their order; within one the pages do as the exchange gives them,
    the latest first.
    """

    def __init__(
        self,
        interval: Interval,
        rest: KalshiRest,
        capture: Capture,
        known: Callable[[datetime, datetime], Known],
        room: Callable[[], Awaitable[None]],
        publish: Callable[[MarketOutgoing], object],
    ) -> None:
        """`known` says what the stream has of the trades between two times, `room` waits until one
        more finds room."""
        self._interval = interval
        self._rest = rest
        self._capture = capture
        self._known = known
        self._room = room
        self._publish = publish
        self._session = new_session()
        self._parts = deque(interval.parts())
        self.published = 0
        """Trades that the stream did not have."""

    async def run(self) -> None:
        """Read and publish all of it, then tell so by a record.

        Raises:
            KalshiError: the exchange could not be read. Some trades may be published, the record is
                not; run again, it goes on where it was.
            As `Known.refresh`.
        """
        while self._parts:
            await self._read(self._parts[0])
            self._parts.popleft()
        self._publish(
            self._capture.record(
                "repaired",
                datetime.now(UTC),
                of_channel="trade",
                since=time_text(self._interval.since),
                until=time_text(self._interval.until),
                trades=self.published,
            )
        )

    async def _read(self, part: Interval) -> None:
        first = math.floor(part.since.timestamp()) - MARGIN_SECONDS
        last = math.ceil(part.until.timestamp()) + MARGIN_SECONDS
        known = self._known(*(datetime.fromtimestamp(at, UTC) for at in (first, last)))
        await self._take(self._rest.trades(min_ts=first, max_ts=last), known)
        # Asked afterwards: what moves into the past meanwhile is in one of both.
        cutoff = (await self._rest.historical_cutoff()).trades_created_ts
        if cutoff is not None and datetime.fromisoformat(cutoff) > part.since:
            await self._take(self._rest.historical_trades(min_ts=first, max_ts=last), known)

    async def _take(self, listing: AsyncGenerator[Page[WireTrade], None], known: Known) -> None:
        async with aclosing(listing) as pages:
            async for page in pages:
                await self._page(page, known)

    async def _page(self, page: Page[WireTrade], known: Known) -> None:
        if page.rejected_rows:
            log.warning("trades cannot be read", count=len(page.rejected_rows))
        for row in reversed(page.items):
            await self._room()
            while not known.is_current:
                await known.refresh()
                await self._room()
            # Asked last: it may have come over the socket meanwhile.
            if row.trade_id not in known:
                self._add(row)

    def _add(self, row: WireTrade) -> None:
        try:
            trade = trade_of_rest(row)
        except (ValueError, ArithmeticError) as error:
            log.warning("a trade cannot be read", trade_id=row.trade_id, reason=str(error))
            return
        if not self._capture.wants(trade.ticker):
            return
        self.published += 1
        metrics.REPAIRED.inc()
        body, now = body_of(row), datetime.now(UTC)
        self._publish(
            self._capture.trade_of_rest(
                trade, body, now, session=self._session, frame=self.published
            )
        )


async def owed(stream: Stream, connector: str, span: Interval) -> list[Interval]:
    """The gaps of trades in a span of which this connector's records tell, and of no repair.

    Raises:
        As `ssmd_connector.seen.stored`.
    """
    told = Coverage()
    async for message in stored(stream, span.since, subjects=(subjects.session(connector),)):
        if isinstance(message, SessionRecord):
            told.take(message)
    within = Span(of_datetime(span.since), of_datetime(span.until))
    return [
        Interval(*(datetime.fromtimestamp(at / 1e6, UTC) for at in (one.since, one.until)))
        for one in told.intervals(TRADE, None, within)
        if one.state == State.GAP
    ]


def body_of(row: WireTrade) -> bytes:
    """The row's own object; unknown fields included."""
    fields = msgspec.to_builtins(row)
    unknown = fields.pop(UNKNOWN_FIELD, None) or {}
    fields.pop(REJECTED_FIELD, None)
    given = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode(given | unknown)
