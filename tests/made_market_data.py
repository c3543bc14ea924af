"""Messages of market data as connector publishes them, for tests that read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.client import Client

from ssmd_stream.administration import ensure
from ssmd_stream.market import streams, subjects
from ssmd_stream.market.messages import (
    BookMessage,
    Message,
    SessionRecord,
    TickerMessage,
    TradeMessage,
    encoded,
    evidence,
    time_text,
)
from ssmd_stream.stream import Stream

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)


class Maker:
    """One session's messages; each is a second after the one before, unless `at` is given."""

    def __init__(self, session: str = "s1", *, began: datetime = BEGAN, shard: int = 0) -> None:
        self.session = session
        self.now = began
        self.shard = shard
        self.frame = 0
        self.records = 0

    def _head(self, at: datetime | None) -> dict[str, Any]:
        self.now = at or self.now + timedelta(seconds=1)
        return {
            "v": 1, "connector": "0", "session": self.session, "frame": self.frame,
            "received_at": time_text(self.now),
        }  # fmt: skip

    def _said(self, ticker: str, known: bool, at: datetime | None) -> dict[str, Any]:
        self.frame += 1
        names = {"series": ticker.partition("-")[0], "event": f"{ticker}.E"} if known else {}
        return {**self._head(at), **names, "source": "ws", "ticker": ticker, "msg": evidence(b"{}")}

    def trade(self, ticker: str, *, known: bool = True, at: datetime | None = None) -> TradeMessage:
        said = self._said(ticker, known, at)
        return TradeMessage(
            **said, trade_id=f"{self.session}-{self.frame}", price="0.4200", count="10.00",
            taker_side="yes", exchange_time=said["received_at"],
        )  # fmt: skip

    def ticker(self, ticker: str, *, known: bool = True, **said: Any) -> TickerMessage:
        return TickerMessage(**self._said(ticker, known, None), **said)

    def snapshot(self, ticker: str, yes: Any, no: Any, *, known: bool = True) -> BookMessage:
        return BookMessage(**self._said(ticker, known, None), yes_price=True, yes=yes, no=no)

    def delta(self, ticker: str, side: Any, price: str, delta: str) -> BookMessage:
        return BookMessage(
            **self._said(ticker, True, None), yes_price=True, side=side, price=price, delta=delta
        )

    def record(self, what: Any, *, at: datetime | None = None, **more: Any) -> SessionRecord:
        self.records += 1
        return SessionRecord(**self._head(at), n=self.records, what=what, **more)


def subject_of(message: Message, shard: int | None = None) -> str:
    """Where connector publishes it; `shard` for a record of the books."""
    match message:
        case TradeMessage():
            return subjects.trade(message.series, message.event, message.ticker)
        case TickerMessage():
            return subjects.ticker(message.series, message.event, message.ticker)
        case BookMessage():
            return subjects.book(shard or 0, message.series, message.event, message.ticker)
        case SessionRecord():
            if shard is not None:
                return subjects.books_session(shard, message.connector)
            return subjects.session(message.connector)
    raise AssertionError(message)


async def make_streams(client: Client, *, shards: int = 0) -> list[Stream]:
    """MARKET_DATA, and streams of books, empty."""
    wanted = [streams.market_data(max_bytes=1 << 26)]
    wanted += [streams.books(shard, max_bytes=1 << 26) for shard in range(shards)]
    found = []
    for one in wanted:
        stream = Stream(client, one["name"], publisher="connector")
        await ensure(stream, one, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")
        found.append(stream)
    return found


async def publish(client: Client, *messages: Message, shard: int | None = None) -> None:
    """Store them, in order."""
    js = client.jetstream(timeout=60)
    for message in messages:
        await js.publish(
            subject_of(message, shard), encoded(message), headers={"Nats-Msg-Id": message.id}
        )
