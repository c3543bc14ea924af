"""What the exchange's socket says → messages of a stream, with records of the capture. Pure."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from ssmd_common.memo import Memo
from ssmd_common.tickers import is_multivariate
from ssmd_connector.leftout import LeftOut
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_kalshi.feed import (
    Connected,
    Disconnected,
    Ended,
    FeedEvent,
    Gap,
    MarketData,
    MarketsAdded,
    MarketsRemoved,
    Message,
    Refused,
    SnapshotsAsked,
    Subscribed,
    Unreadable,
)
from ssmd_kalshi.marketdata import BOOK, BookDelta, BookSnapshot, Quote, Trade
from ssmd_stream.market import subjects
from ssmd_stream.market.messages import (
    VERSION,
    BookMessage,
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


class Names(Protocol):
    """The live view of the secmaster."""

    def of(self, ticker: str) -> tuple[str | None, str | None]:
        """Series and event of a market; None where they are not known (yet)."""
        ...


class Hearing(Protocol):
    """The socket whose events these are (`ssmd_kalshi.socket.KalshiSocket`)."""

    @property
    def heard_until(self) -> datetime | None:
        """Up to when all that arrived was handed over, which also pings tell."""
        ...

    @property
    def late(self) -> timedelta:
        """How long what arrived was on its way."""
        ...

    async def ask(self) -> None:
        """Have `heard_until` reach up to now, if the exchange answers."""
        ...


def new_session() -> str:
    """An identity that sorts by its time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(7)}"


def without_multivariate(ticker: str) -> bool:
    """All markets but the multivariate ones."""
    return not is_multivariate(ticker)


def everything(_: str) -> bool:
    """All markets."""
    return True


class Capture:
    """One socket's events, in their order; `session` is the life of its connection."""

    def __init__(
        self,
        connector: str,
        names: Names,
        make_session: Callable[[], str] = new_session,
        *,
        wants: Callable[[str], bool] = without_multivariate,
        shard: int | None = None,
        left_out: LeftOut | None = None,
    ) -> None:
        """`wants` says whether a market's trades and quotes are published; `shard` is of books.
        Without `left_out` no record tells of a scope."""
        self.wants = wants
        self.left_out = left_out
        self.connector = connector
        self.session = ""
        self.frame = 0
        self.socket: Hearing | None = None
        self._heard: datetime | None = None
        self._whole: datetime | None = None
        self._names = names
        self._make_session = make_session
        self._shard = shard
        self.gaps = 0
        """Holes that were told of, in all sessions."""
        self._records = 0
        self._published: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._sessions = subjects.session(connector)
        self._unreadables = subjects.unreadable(connector)
        if shard is not None:
            self._sessions = subjects.books_session(shard, connector)
            self._unreadables = subjects.books_unreadable(shard, connector)

    def take(self, event: FeedEvent) -> list[MarketOutgoing]:
        """What is published of an event."""
        if isinstance(event, MarketData):
            self.frame, self._heard, said = event.frame, event.received_at, event.said
            if not self.wants(said.ticker):
                if self.left_out is not None:
                    self.left_out.note(said.ticker)
                return []
            if isinstance(said, Quote):
                return [self._quote(event, said)]
            return [
                self._trade(event, said) if isinstance(said, Trade) else self._book(event, said)
            ]
        record = self.record
        match event:
            case Unreadable():
                self.frame = event.frame or self.frame
                return [self._unreadable(event)]
            case Message():
                # Of a channel that nobody here asked for.
                self.frame = event.frame or self.frame
                return []
            case Connected(at=at):
                self.session, self._records, self.frame = self._make_session(), 0, 0
                self._heard = self._whole = at
                self.restart_counts()
                if self.left_out is not None:
                    self.left_out.again()
                return [record("opened", at), *self.scope(at)]
            case Disconnected(at=at, reason=reason, detail=detail, attempt=0):
                text = f"{reason.value}: {detail}"
                return [*self.counts(at), record("closed", at, reason=text)]
            case Disconnected():
                return []
            case Gap():
                return [self._gap(event)]
        of: dict[str, Any] = {"of_channel": event.channel}
        match event:
            case Subscribed(sid=sid, at=at):
                # Books have lists, and their prices are asked for as what YES costs.
                books = event.channel == BOOK
                more = {"yes_price": True} if books else {"everything": True}
                return [record("subscribed", at, sid=sid, **of, **more)]
            case MarketsAdded(sid=sid, tickers=tickers, at=at):
                return [record("added", at, sid=sid, tickers=tickers, **of)]
            case MarketsRemoved(sid=sid, tickers=tickers, at=at):
                return [record("removed", at, sid=sid, tickers=tickers, **of)]
            case SnapshotsAsked(sid=sid, tickers=tickers, at=at):
                return [record("resnapshot", at, sid=sid, tickers=tickers, **of)]
            case Ended(sid=sid, at=at):
                what: What = "error" if event.wanted else "unsubscribed"
                return [record(what, at, sid=sid, code=event.code, reason=event.detail, **of)]
            case Refused(at=at):
                of |= {"code": event.code, "reason": event.said, "tickers": event.tickers or None}
                return [record("refused", at, **of)]

    # --- records ----------------------------------------------------------------------------------

    def record(self, what: What, at: datetime, **fields: Any) -> MarketOutgoing:
        """A record of the session as of now."""
        self._records += 1
        record = SessionRecord(**self._head(at), n=self._records, what=what, **fields)
        return self._outgoing(record, "session", self._sessions, at)

    def count(self, at: datetime) -> MarketOutgoing:
        """How far the session is: not farther than what it heard was sent, since a connection may
        be dead before that is noticed, and what waits in it is lost."""
        if self.socket is not None and (heard := self.socket.heard_until) is not None:
            self._heard = max(self._heard or heard, heard)
        if self._heard is not None:
            late = self.socket.late if self.socket is not None else timedelta(0)
            sent = min(self._heard, at) - late
            self._whole = max(self._whole or sent, sent)
        return self.record(
            "count",
            at,
            until=None if self._whole is None else time_text(self._whole),
            published=dict(self._published),
            dropped=dict(self._dropped) or None,
        )

    def counts(self, at: datetime) -> list[MarketOutgoing]:
        """The same, after the markets that were found to be left out: up to a count all is told."""
        if self.left_out is None:
            return [self.count(at)]
        told = [self.record("left_out", at, tickers=part) for part in self.left_out.take()]
        return [*told, self.count(at)]

    def scope(self, at: datetime, since: str | None = None) -> list[MarketOutgoing]:
        """What is published from now on; of what was heard before, from `since` on."""
        if self.left_out is None:
            return []
        return [self.record("scope", at, since=since, **self.left_out.fields)]

    def restart_counts(self) -> None:
        """Nothing of the session counts as published so far."""
        self._published.clear()
        self._dropped.clear()

    def note_published(self, channel: str) -> None:
        """A message that was made before `restart_counts` is published after all."""
        self._published[channel] += 1

    def note_dropped(self, channel: str) -> None:
        """A message of ours was dropped for want of room."""
        self._dropped[channel] += 1

    def dropped(self, counts: dict[str, int], at: datetime, reason: str) -> MarketOutgoing:
        """So many were dropped since the last such record."""
        return self.record("dropped", at, published=counts, reason=reason)

    def hole(self, channel: str, since: datetime, until: datetime, reason: str) -> MarketOutgoing:
        """Of a channel is missing, at worst, what was sent between these."""
        self.gaps += 1
        return self.record(
            "gap",
            until,
            of_channel=channel,
            since=time_text(since),
            until=time_text(until),
            reason=reason,
        )

    def _gap(self, gap: Gap) -> MarketOutgoing:
        self.gaps += 1
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
        sid: int | None = None, seq: int | None = None,
    ) -> MarketOutgoing:  # fmt: skip
        """A trade, from the socket or from REST."""
        series, event = self._names.of(trade.ticker)
        message = TradeMessage(
            v=VERSION,
            connector=self.connector,
            session=session,
            frame=frame,
            received_at=_TEXTS[at],
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
            sid=sid,
            seq=seq,
        )
        self._published["trade"] += 1
        return MarketOutgoing(
            f"{session}.{frame}",
            subjects.trade(series, event, trade.ticker),
            "trade",
            encoded(message),
            at,
            trade.trade_id,
            trade.exchange_time or at,
        )

    def _trade(self, event: MarketData, said: Trade) -> MarketOutgoing:
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

    def _quote(self, event: MarketData, said: Quote) -> MarketOutgoing:
        series, parent = self._names.of(said.ticker)
        at, session = event.received_at, self.session
        exchange_time = _text(said.exchange_time)
        message = TickerMessage(
            v=VERSION,
            connector=self.connector,
            session=session,
            frame=event.frame,
            received_at=_TEXTS[at],
            source="ws",
            series=series,
            event=parent,
            ticker=said.ticker,
            sid=event.sid,
            seq=event.seq,
            exchange_time=exchange_time,
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
            f"{session}.{event.frame}",
            subjects.ticker(series, parent, said.ticker),
            "ticker",
            encoded(message),
            at,
            "",
            None,
            (said.ticker, exchange_time or ""),
        )

    def _book(self, event: MarketData, said: BookSnapshot | BookDelta) -> MarketOutgoing:
        assert self._shard is not None, "books have a stream of their own"
        series, parent = self._names.of(said.ticker)
        at, session = event.received_at, self.session
        message = BookMessage(
            v=VERSION,
            connector=self.connector,
            session=session,
            frame=event.frame,
            received_at=_TEXTS[at],
            source="ws",
            series=series,
            event=parent,
            ticker=said.ticker,
            sid=event.sid,
            seq=event.seq,
            yes_price=True,
            msg=evidence(event.body),
        )
        if isinstance(said, BookSnapshot):
            message.yes, message.no = said.yes, said.no
        else:
            message.side, message.price, message.delta = said.side, said.price, said.delta
            message.exchange_time = _text(said.exchange_time)
        self._published["book"] += 1
        subject = subjects.book(self._shard, series, parent, said.ticker)
        return MarketOutgoing(f"{session}.{event.frame}", subject, "book", encoded(message), at)

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
        return self._outgoing(message, "unreadable", self._unreadables, event.received_at)

    def _head(self, at: datetime) -> dict[str, Any]:
        return {
            "v": VERSION,
            "connector": self.connector,
            "session": self.session,
            "frame": self.frame,
            "received_at": time_text(at),
        }

    @staticmethod
    def _outgoing(message: Captured, kind: str, subject: str, at: datetime) -> MarketOutgoing:
        payload = encoded(message)  # type: ignore[arg-type]
        return MarketOutgoing(message.id, subject, kind, payload, at)


_TEXTS = Memo(time_text)
"""In a burst many messages come, and are said, at one moment."""


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else _TEXTS[moment]
