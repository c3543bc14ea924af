"""Trades of an interval that may have been missed, over REST, once each."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import structlog

from ssmd_connector import metrics
from ssmd_connector.capture import Capture, new_session
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.seen import stored
from ssmd_kalshi.marketdata import trade_of_rest
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.wire import REJECTED_FIELD, UNKNOWN_FIELD, WireTrade
from ssmd_stream.market import subjects
from ssmd_stream.market.coverage import TRADE, Coverage, State, of_datetime
from ssmd_stream.market.messages import SessionRecord, time_text
from ssmd_stream.market.timeline import Span
from ssmd_stream.stream import Stream

MARGIN_SECONDS = 2
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


async def repaired(
    interval: Interval,
    rest: KalshiRest,
    capture: Capture,
    known: Callable[[str], bool],
    room: Callable[[], Awaitable[None]],
    publish: Callable[[MarketOutgoing], object],
) -> int:
    """Publish the trades of the interval that the stream does not have, the first one first, then
    a record; how many there were. `known` says what the stream has, `room` waits until one more
    finds room.

    Raises:
        KalshiError: the exchange could not be read; nothing was published.
    """
    first = math.floor(interval.since.timestamp()) - MARGIN_SECONDS
    last = math.ceil(interval.until.timestamp()) + MARGIN_SECONDS
    session, rows = new_session(), list[WireTrade]()
    async for page in rest.trades(min_ts=first, max_ts=last):
        rows += page.items
        if page.rejected_rows:
            log.warning("trades cannot be read", count=len(page.rejected_rows))
    cutoff = (await rest.historical_cutoff()).trades_created_ts
    if cutoff is not None and datetime.fromisoformat(cutoff) > interval.since:
        async for page in rest.historical_trades(min_ts=first, max_ts=last):
            rows += page.items
    missing = [row for row in reversed(rows) if not known(row.trade_id)]
    now, published = datetime.now(UTC), 0
    for row in missing:
        try:
            trade = trade_of_rest(row)
        except (ValueError, ArithmeticError) as error:
            log.warning("a trade cannot be read", trade_id=row.trade_id, reason=str(error))
            continue
        await room()
        if known(trade.trade_id) or not capture.wants(trade.ticker):
            # It came over the socket meanwhile.
            continue
        published += 1
        metrics.REPAIRED.inc()
        publish(
            capture.trade(trade, body_of(row), now, session=session, frame=published, source="rest")
        )
    publish(
        capture.record(
            "repaired",
            now,
            of_channel="trade",
            since=time_text(interval.since),
            until=time_text(interval.until),
            trades=published,
        )
    )
    return published


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
