"""What the socket says → what is published of it: messages, and records of the capture. Pure."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from ssmd_common.tickers import is_multivariate
from ssmd_connector.leftout import LeftOut
from ssmd_connector.messages import Messages, Names
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
from ssmd_kalshi.marketdata import BOOK, Trade
from ssmd_stream.market import subjects
from ssmd_stream.market.messages import (
    VERSION,
    SessionRecord,
    What,
    encoded,
    time_text,
)


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
        self._messages = Messages(connector, names, shard)
        self._make_session = make_session
        self.gaps = 0
        """Holes that were told of, in all sessions."""
        self._records = 0
        self._published: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._sessions = (
            subjects.session(connector)
            if shard is None
            else subjects.books_session(shard, connector)
        )

    def take(self, event: FeedEvent) -> list[MarketOutgoing]:
        """What is published of an event."""
        if isinstance(event, MarketData):
            self.frame, self._heard, said = event.frame, event.received_at, event.said
            if not self.wants(said.ticker):
                if self.left_out is not None:
                    self.left_out.note(said.ticker)
                return []
            return [self._counted(self._messages.of(event, self.session))]
        record = self.record
        match event:
            case Unreadable():
                self.frame = event.frame or self.frame
                said_so = self._messages.unreadable(event, self.session, self.frame)
                return [self._counted(said_so)]
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

    def trade_of_rest(
        self, trade: Trade, body: bytes, at: datetime, *, session: str, frame: int
    ) -> MarketOutgoing:
        """A trade that a repair read, in its own session."""
        return self._counted(
            self._messages.trade(trade, body, at, session=session, frame=frame, source="rest")
        )

    def _counted(self, message: MarketOutgoing) -> MarketOutgoing:
        self._published[message.type] += 1
        return message

    # --- records ----------------------------------------------------------------------------------

    def record(self, what: What, at: datetime, **fields: Any) -> MarketOutgoing:
        """A record of the session as of now."""
        self._records += 1
        record = SessionRecord(
            v=VERSION,
            connector=self.connector,
            session=self.session,
            frame=self.frame,
            received_at=time_text(at),
            n=self._records,
            what=what,
            **fields,
        )
        return MarketOutgoing(record.id, self._sessions, "session", encoded(record), at)

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
