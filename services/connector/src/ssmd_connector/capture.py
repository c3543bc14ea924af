"""What the exchange's socket says → messages of MARKET_DATA, with records of the capture. Pure."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from ssmd_kalshi.feed import (
    Connected,
    Disconnected,
    Ended,
    FeedEvent,
    Gap,
    MarketData,
    Message,
    Refused,
    Subscribed,
    Unreadable,
)
from ssmd_kalshi.marketdata import Quote, Trade
from ssmd_stream.market import subjects
from ssmd_stream.market.messages import (
    VERSION,
    Captured,
    SessionRecord,
    TickerMessage,
    TradeMessage,
    UnreadableMessage,
    What,
    encoded,
    evidence,
    time_text,
)
from ssmd_stream.publish.outgoing import Outgoing

MULTIVARIATE = "KXMVE"
"""How tickers of multivariate markets begin."""


class MarketOutgoing(Outgoing, gc=False):
    """A message on its way; `trade_id` is "" where it is no trade."""

    trade_id: str = ""
    at: datetime | None = None
    """A trade's: when it was traded, or else when it came."""


class Names(Protocol):
    """The live view of the secmaster."""

    def of(self, ticker: str) -> tuple[str | None, str | None]:
        """Series and event of a market; None where they are not known (yet)."""
        ...


def new_session() -> str:
    """An identity that sorts by its time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(7)}"


class Capture:
    """One socket's events, in their order; `session` is the life of its connection."""

    def __init__(
        self,
        connector: str,
        names: Names,
        make_session: Callable[[], str] = new_session,
        *,
        multivariate: bool = False,
    ) -> None:
        """`multivariate`: these markets are wanted, too."""
        self._multivariate = multivariate
        self.connector = connector
        self.session = ""
        self.frame = 0
        self._names = names
        self._make_session = make_session
        self._records = 0
        self._published: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def take(self, event: FeedEvent) -> list[MarketOutgoing]:
        """What is published of an event."""
        match event:
            case MarketData():
                self.frame = event.frame
                if not self.wants(event.said.ticker):
                    return []
                return [self._market_data(event)]
            case Unreadable():
                self.frame = event.frame or self.frame
                return [self._unreadable(event)]
            case Connected(at=at):
                self.session, self._records, self.frame = self._make_session(), 0, 0
                self._published.clear()
                self._dropped.clear()
                return [self.record("opened", at)]
            case Disconnected(at=at, reason=reason, detail=detail, attempt=0):
                text = f"{reason.value}: {detail}"
                return [self.count(at), self.record("closed", at, reason=text)]
            case Subscribed():
                return [
                    self.record(
                        "subscribed",
                        event.at,
                        of_channel=event.channel,
                        sid=event.sid,
                        everything=True,
                    )
                ]
            case Gap():
                return [self._gap(event)]
            case Ended():
                what: What = "error" if event.wanted else "unsubscribed"
                return [
                    self.record(
                        what,
                        event.at,
                        of_channel=event.channel,
                        sid=event.sid,
                        code=event.code,
                        reason=event.detail,
                    )
                ]
            case Refused():
                return [
                    self.record(
                        "refused",
                        event.at,
                        of_channel=event.channel,
                        code=event.code,
                        reason=event.said,
                        tickers=event.tickers or None,
                    )
                ]
            case Message():
                # Of a channel that nobody here asked for.
                self.frame = event.frame or self.frame
                return []
            case _:
                return []

    def wants(self, ticker: str) -> bool:
        """Whether a market is in the scope."""
        return self._multivariate or not ticker.startswith(MULTIVARIATE)

    # --- records ----------------------------------------------------------------------------------

    def record(self, what: What, at: datetime, **fields: Any) -> MarketOutgoing:
        """A record of the session as of now."""
        self._records += 1
        record = SessionRecord(**self._head(at), n=self._records, what=what, **fields)
        return self._outgoing(record, subjects.session(self.connector))

    def count(self, at: datetime) -> MarketOutgoing:
        """How far the session is."""
        return self.record(
            "count", at, published=dict(self._published), dropped=dict(self._dropped) or None
        )

    def note_dropped(self, channel: str) -> None:
        """A message of ours was dropped for want of room."""
        self._dropped[channel] += 1

    def dropped(self, counts: dict[str, int], at: datetime, reason: str) -> MarketOutgoing:
        """So many were dropped since the last such record."""
        return self.record("dropped", at, published=counts, reason=reason)

    def _gap(self, gap: Gap) -> MarketOutgoing:
        return self.record(
            "gap",
            gap.until,
            of_channel=gap.channel,
            since=None if gap.since is None else time_text(gap.since),
            until=time_text(gap.until),
            reason=f"{gap.reason.value}: {gap.detail}" if gap.detail else gap.reason.value,
        )

    # --- messages ---------------------------------------------------------------------------------

    def trade(
        self, trade: Trade, body: bytes, at: datetime, *, session: str, frame: int, source: str,
        **more: Any,
    ) -> MarketOutgoing:  # fmt: skip
        """A trade, from the socket or from REST."""
        series, event = self._names.of(trade.ticker)
        message = TradeMessage(
            v=VERSION,
            connector=self.connector,
            session=session,
            frame=frame,
            received_at=time_text(at),
            source=source,  # type: ignore[arg-type]
            series=series,
            event=event,
            ticker=trade.ticker,
            exchange_time=_text(trade.exchange_time),
            trade_id=trade.trade_id,
            price=trade.price,
            count=trade.count,
            taker_side=trade.taker_side,
            block=trade.block,
            msg=evidence(body),
            **more,
        )
        self._published["trade"] += 1
        return MarketOutgoing(
            id=message.id,
            subject=subjects.trade(series, event, trade.ticker),
            type="trade",
            payload=encoded(message),
            trade_id=trade.trade_id,
            at=trade.exchange_time or at,
        )

    def _market_data(self, event: MarketData) -> MarketOutgoing:
        said = event.said
        if isinstance(said, Trade):
            return self.trade(
                said,
                event.body,
                event.received_at,
                session=self.session,
                frame=event.frame,
                source="ws",
                sid=event.sid,
                seq=event.seq,
            )
        assert isinstance(said, Quote), "books have a stream of their own"
        series, parent = self._names.of(said.ticker)
        message = TickerMessage(
            **self._head(event.received_at),
            source="ws",
            series=series,
            event=parent,
            ticker=said.ticker,
            sid=event.sid,
            seq=event.seq,
            exchange_time=_text(said.exchange_time),
            price=said.price,
            yes_bid=said.yes_bid,
            yes_ask=said.yes_ask,
            yes_bid_size=said.yes_bid_size,
            yes_ask_size=said.yes_ask_size,
            last_size=said.last_size,
            volume=said.volume,
            open_interest=said.open_interest,
            msg=evidence(event.body),
        )
        self._published["ticker"] += 1
        return MarketOutgoing(
            id=message.id,
            subject=subjects.ticker(series, parent, said.ticker),
            type="ticker",
            payload=encoded(message),
        )

    def _unreadable(self, event: Unreadable) -> MarketOutgoing:
        message = UnreadableMessage(
            **self._head(event.received_at),
            reason=event.reason,
            of_channel=event.channel or None,
            sid=event.sid,
            seq=event.seq,
            raw=event.raw,
        )
        self._published["unreadable"] += 1
        return self._outgoing(message, subjects.unreadable(self.connector))

    def _head(self, at: datetime) -> dict[str, Any]:
        return {
            "v": VERSION,
            "connector": self.connector,
            "session": self.session,
            "frame": self.frame,
            "received_at": time_text(at),
        }

    @staticmethod
    def _outgoing(message: Captured, subject: str) -> MarketOutgoing:
        kind = "session" if isinstance(message, SessionRecord) else "unreadable"
        payload = encoded(message)  # type: ignore[arg-type]
        return MarketOutgoing(id=message.id, subject=subject, type=kind, payload=payload)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else time_text(moment.astimezone(UTC))
