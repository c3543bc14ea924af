"""What the exchange says of its markets → messages of a stream. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from ssmd_common.memo import Memo
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_kalshi.feed import MarketData, Unreadable
from ssmd_kalshi.marketdata import BookDelta, BookSnapshot, Quote, Trade
from ssmd_stream.market import subjects
from ssmd_stream.market.messages import (
    VERSION,
    BookMessage,
    Source,
    TickerMessage,
    TradeMessage,
    UnreadableMessage,
    encoded,
    evidence,
    time_text,
)


class Names(Protocol):
    """The live view of the secmaster."""

    def of(self, ticker: str) -> tuple[str | None, str | None]:
        """Series and event of a market; None where they are not known (yet)."""
        ...


class Messages:
    """Those of one connector; `shard` is of books."""

    def __init__(self, connector: str, names: Names, shard: int | None) -> None:
        self._connector = connector
        self._names = names
        self._shard = shard
        self._unreadables = subjects.unreadable(connector)
        if shard is not None:
            self._unreadables = subjects.books_unreadable(shard, connector)

    def of(self, event: MarketData, session: str) -> MarketOutgoing:
        """What a message of the session's socket said."""
        said = event.said
        if isinstance(said, Quote):
            return self._quote(event, said, session)
        if isinstance(said, Trade):
            return self.trade(
                said,
                event.body,
                event.received_at,
                session=session,
                frame=event.frame,
                source="ws",
                sid=event.sid,
                seq=event.seq,
            )
        return self._book(event, said, session)

    def trade(
        self, trade: Trade, body: bytes, at: datetime, *, session: str, frame: int, source: Source,
        sid: int | None = None, seq: int | None = None,
    ) -> MarketOutgoing:  # fmt: skip
        """A trade, from the socket or from REST."""
        series, event = self._names.of(trade.ticker)
        message = TradeMessage(
            v=VERSION,
            connector=self._connector,
            session=session,
            frame=frame,
            received_at=_TEXTS[at],
            source=source,
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
        return MarketOutgoing(
            f"{session}.{frame}",
            subjects.trade(series, event, trade.ticker),
            "trade",
            encoded(message),
            at,
            trade.trade_id,
            trade.exchange_time or at,
        )

    def _quote(self, event: MarketData, said: Quote, session: str) -> MarketOutgoing:
        series, parent = self._names.of(said.ticker)
        at = event.received_at
        exchange_time = _text(said.exchange_time)
        message = TickerMessage(
            v=VERSION,
            connector=self._connector,
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

    def _book(
        self, event: MarketData, said: BookSnapshot | BookDelta, session: str
    ) -> MarketOutgoing:
        assert self._shard is not None, "books have a stream of their own"
        series, parent = self._names.of(said.ticker)
        at = event.received_at
        message = BookMessage(
            v=VERSION,
            connector=self._connector,
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
        subject = subjects.book(self._shard, series, parent, said.ticker)
        return MarketOutgoing(f"{session}.{event.frame}", subject, "book", encoded(message), at)

    def unreadable(self, event: Unreadable, session: str, frame: int) -> MarketOutgoing:
        """A frame that could not be read, with its bytes."""
        at = event.received_at
        message = UnreadableMessage(
            v=VERSION,
            connector=self._connector,
            session=session,
            frame=frame,
            received_at=time_text(at),
            reason=event.reason,
            of_channel=event.channel or None,
            sid=event.sid,
            seq=event.seq,
            raw=event.raw,
        )
        return MarketOutgoing(message.id, self._unreadables, "unreadable", encoded(message), at)


_TEXTS = Memo(time_text)
"""In a burst many messages come, and are said, at one moment."""


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else _TEXTS[moment]
