"""Trades, quotes and books of a market, from what the streams of market data keep.

As for changes, the library of NATS is imported when it is first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ssmd_api.problems import not_captured
from ssmd_common.streams import MARKET_DATA_STREAM, books_stream

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ssmd_api.marketnews import Source
    from ssmd_stream.market.messages import BookMessage, TradeMessage
    from ssmd_stream.stream import Stream, StreamInfo

_AT_ONCE: Final = 8
"""Readings at once: each makes a few short-lived consumers at NATS."""
_ANSWER_SECONDS: Final = 2.0
STILL_SECONDS: Final = 60.0
"""A record of the capture comes every 30 s at least."""

_TRADE: Final = ("trade_id", "price", "count", "taker_side", "block", "exchange_time")
_QUOTE: Final = (
    *("price", "yes_bid", "yes_ask", "yes_bid_size", "yes_ask_size", "last_size"),
    *("volume", "open_interest", "exchange_time"),
)

Document = dict[str, Any]


class Market(NamedTuple):
    """What its subjects are made of."""

    ticker: str
    series: str | None
    event: str | None


class Captured(NamedTuple):
    """What was found (None: nothing), what there is to say of the capture, and when the newest of
    it was received."""

    found: Any
    capture: Document
    received_at: datetime | None


class MarketData:
    """Reads the streams over a connection that others made."""

    def __init__(self, connect: Callable[[], Awaitable[Client]]) -> None:
        self._connect = connect
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def trades(
        self, market: Market, most: int, before: int | None
    ) -> tuple[Captured, int | None]:
        """The last trades before a sequence of the stream, the last first; and the sequence before
        which to go on, None at the end.

        Raises:
            Problem: 404, there is no such stream.
            UpstreamUnavailable: NATS does not answer.
        """
        from ssmd_stream.market import subjects
        from ssmd_stream.market.messages import TradeMessage
        from ssmd_stream.recent import recent

        async with self._turns:
            stream, info = await self._open()
            wanted = [subjects.trade(*names, market.ticker) for names in _filed(market)]
            found, has_more = await recent(stream, wanted, most, before=before)
        rows = [
            _trade(one.sequence, message)
            for one in reversed(found)
            if (message := _read(one.payload, TradeMessage)) is not None
        ]
        received = datetime.fromisoformat(rows[0]["received_at"]) if rows else None
        capture = _capture(stream.name, info, nothing=not rows and before is None, of=market)
        following = found[0].sequence if has_more and found else None
        return Captured(rows, capture, received), following

    async def quote(self, market: Market) -> Captured:
        """The last one; errors as `trades`."""
        from ssmd_stream.market import subjects
        from ssmd_stream.market.messages import TickerMessage

        async with self._turns:
            stream, info = await self._open()
            stored = [
                found
                for names in _filed(market)
                if (found := await stream.last(subjects.ticker(*names, market.ticker)))
            ]
        latest = max(stored, key=lambda one: one.sequence, default=None)
        message = latest and _read(latest.payload, TickerMessage)
        capture = _capture(stream.name, info, nothing=message is None, of=market)
        if message is None:
            return Captured(None, capture, None)
        quote = {name: getattr(message, name) for name in _QUOTE}
        quote["received_at"] = message.received_at
        return Captured(quote, capture, datetime.fromisoformat(message.received_at))

    async def book(self, market: Market) -> Captured:
        """The last snapshot with what came after it; errors as `trades`."""
        from ssmd_stream.market import books
        from ssmd_stream.market.ladder import ladder

        async with self._turns:
            client = await self._connect()
            streams = await books.book_streams(client)
            if not streams:
                raise not_captured(
                    f"no books are captured: there is no stream {books_stream(0)}, which connector "
                    "makes once its scope (CONNECTOR_SCOPE_FILE) has books"
                )
            shard = await books.find_shard(streams, market.ticker)
            stream = streams[shard or 0]
            course = None if shard is None else await books.course(stream, shard, market.ticker)
            info = await stream.info()
        capture = _capture(stream.name, info, nothing=course is None, of=market)
        if course is None:
            return Captured(None, capture, None)
        bids, asks = ladder(course.messages)
        last: BookMessage = course.messages[-1]
        confirmed = course.confirmed_at
        book = {
            "bids": [{"price": price, "count": count} for price, count in bids],
            "asks": [{"price": price, "count": count} for price, count in asks],
            "valid": course.doubt is None,
            "doubt": course.doubt,
            "snapshot_at": course.messages[0].received_at,
            "received_at": last.received_at,
            "confirmed_at": confirmed and _text(confirmed),
        }
        return Captured(book, capture, datetime.fromisoformat(last.received_at))

    async def sources(self, market: Market) -> list[Source]:
        """The streams that have, or may have, something of the market; errors as `trades`."""
        from ssmd_stream.market import books, subjects

        async with self._turns:
            stream, _ = await self._open()
            streams = await books.book_streams(stream.client)
            shard = await books.find_shard(streams, market.ticker)
        found: list[Source] = [
            (
                stream,
                [
                    subject(*names, market.ticker)
                    for names in _filed(market)
                    for subject in (subjects.trade, subjects.ticker)
                ],
            )
        ]
        if shard is not None:
            found.append((streams[shard], [books.subject_of(shard, market.ticker)]))
        return found

    async def _open(self) -> tuple[Stream, StreamInfo]:
        from ssmd_stream.errors import StreamMissing
        from ssmd_stream.stream import Stream

        client = await self._connect()
        stream = Stream(
            client, MARKET_DATA_STREAM, publisher="connector", answer_seconds=_ANSWER_SECONDS
        )
        try:
            return stream, await stream.info()
        except StreamMissing as missing:
            raise not_captured(
                f"no market data are captured: {missing} (CONNECTOR_ENABLED turns it off)"
            ) from None


def _filed(market: Market) -> list[tuple[str | None, str | None]]:
    """Where its messages are: those from before the secmaster knew it have no series or event."""
    return [(market.series, market.event), (None, None)]


def _read(payload: bytes, kind: type[Any]) -> Any:
    from ssmd_stream.market.messages import decoded

    try:
        message = decoded(payload)
    except ValueError:
        return None
    return message if isinstance(message, kind) else None


def _trade(sequence: int, message: TradeMessage) -> Document:
    row: Document = {"sequence": sequence}
    row |= {name: getattr(message, name) for name in _TRADE}
    return row | {"received_at": message.received_at, "source": message.source}


def _capture(stream: str, info: StreamInfo, *, nothing: bool, of: Market) -> Document:
    note = None
    now = datetime.now(UTC)
    if info.last_at is None:
        note = "the stream holds no message"
    elif (still := (now - info.last_at).total_seconds()) > STILL_SECONDS:
        note = f"nothing at all has been captured for {still:.0f} s: connector does not publish"
    elif nothing:
        note = f"nothing of {of.ticker} is in the stream"
    return {
        "stream": stream,
        "since": info.first_at and _text(info.first_at),
        "until": info.last_at and _text(info.last_at),
        "note": note,
    }


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
