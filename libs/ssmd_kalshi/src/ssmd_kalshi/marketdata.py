"""What the market-data channels and the REST listings of trades and books say, in one form. Pure.

The exchange's names differ between REST and WebSocket and change; ours do not. Prices are exact
texts of dollars with at least four decimals (`"0.4200"`), counts of contracts with at least two
(`"10.00"`).
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from ssmd_common.book import Level
from ssmd_common.memo import Memo
from ssmd_kalshi import unread, values
from ssmd_kalshi.errors import BrokenReplyError, excerpt
from ssmd_kalshi.times import moment
from ssmd_kalshi.wire import Flag, Number, Text, Ticker, WireTrade

TRADE, TICKER, BOOK = "trade", "ticker", "orderbook_delta"
"""The channels."""
SNAPSHOT = "orderbook_snapshot"
"""The type of the messages that begin a book; those that change it have the channel's name."""

CHANNEL_OF = {TRADE: TRADE, TICKER: TICKER, SNAPSHOT: BOOK, BOOK: BOOK}
"""The channel of each message type of market data."""

Side = Literal["yes", "no"]

_SIDES: dict[str | None, Side] = {"yes": "yes", "no": "no", "bid": "yes", "ask": "no"}


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade; `price` is what YES costs, `taker_side` the outcome that the taker bet on."""

    ticker: str
    trade_id: str
    price: str
    count: str
    taker_side: Side | None = None
    block: bool = False
    exchange_time: datetime | None = None


class Quote(msgspec.Struct, frozen=True, gc=False):
    """A message of the ticker channel; what it does not say is None."""

    ticker: str
    price: str | None = None
    yes_bid: str | None = None
    yes_ask: str | None = None
    yes_bid_size: str | None = None
    yes_ask_size: str | None = None
    last_size: str | None = None
    volume: str | None = None
    open_interest: str | None = None
    exchange_time: datetime | None = None


class BookSnapshot(msgspec.Struct, frozen=True, gc=False):
    """All levels of a book, each side's as the exchange priced and ordered them."""

    ticker: str
    yes: tuple[Level, ...] = ()
    no: tuple[Level, ...] = ()


class BookDelta(msgspec.Struct, frozen=True, gc=False):
    """`delta` contracts more, or fewer, at one price of one side."""

    ticker: str
    side: Side
    price: str
    delta: str
    exchange_time: datetime | None = None


class RestBook(msgspec.Struct, frozen=True, gc=False):
    """A book as REST gives it: bids for each side, at what that side costs."""

    ticker: str
    yes: tuple[Level, ...] = ()
    no: tuple[Level, ...] = ()


Said = Trade | Quote | BookSnapshot | BookDelta


def read(kind: str, body: bytes) -> Said:
    """The `msg` of a frame of this type (a key of `CHANNEL_OF`).

    Raises BrokenReplyError where a field that its meaning hangs on cannot be read.
    """
    try:
        said: Said = _READERS[kind](body)
    except (*values.FAULTS, msgspec.MsgspecError, RecursionError) as error:
        # UnicodeDecodeError is a ValueError.
        raise BrokenReplyError(f"{kind}: {excerpt(str(error) or repr(error), 120)}") from error
    if fault := _TICKER_FAULTS[said.ticker]:
        raise BrokenReplyError(f"{kind}: market_ticker is {excerpt(said.ticker)!r}: {fault}")
    return said


def trade_of_rest(wire: WireTrade) -> Trade:
    """A row of `GET /markets/trades` or `/historical/trades`.

    ValueError or ArithmeticError where its price, count or time cannot be read.
    """
    return Trade(
        ticker=wire.ticker or "",
        trade_id=wire.trade_id,
        price=_PRICES[wire.yes_price_dollars],
        count=_count(wire.count_fp),
        taker_side=_taker(wire.taker_outcome_side, wire.taker_book_side, wire.taker_side),
        block=bool(wire.is_block_trade),
        exchange_time=values.TIME[wire.created_time],
    )


def rest_books(body: bytes) -> dict[str, RestBook]:
    """The reply of `GET /markets/orderbooks`, by ticker. Raises BrokenReplyError."""
    try:
        rows = _books_reply(body).orderbooks
        return {
            row.ticker: RestBook(
                row.ticker,
                _levels(row.orderbook_fp.yes_dollars),
                _levels(row.orderbook_fp.no_dollars),
            )
            for row in rows
        }
    except (*values.FAULTS, msgspec.MsgspecError, RecursionError) as error:
        raise BrokenReplyError(f"order books cannot be read: {excerpt(str(error), 120)}") from error


# --- texts ----------------------------------------------------------------------------------------


def _fixed(number: Decimal | None, places: int) -> str:
    if number is None:
        raise ValueError("a price or a count is absent")
    normal = number.normalize()
    exponent = normal.as_tuple().exponent
    assert isinstance(exponent, int)
    return f"{normal:.{max(places, -exponent)}f}"


def _price(value: Number) -> str:
    return _fixed(values.dollars(value), 4)


_PRICES = Memo(_price)
_OPTIONAL_PRICES = Memo(lambda value: None if value in (None, "") else _price(value))
_TICKER_FAULTS = Memo(unread.ticker_fault)
_MOMENTS = Memo(moment)
_NUMBERS = (int, float)


_USUAL = r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{2}"
_usual_count = re.compile(_USUAL).fullmatch
_usual_counts = re.compile(rf"{_USUAL}(?: {_USUAL}){{4}}").fullmatch
"""Five of them with one space between: asked at once, since asking costs more than the answer."""


def _count(value: Number) -> str:
    """The text itself where it is in the exchange's usual form: counts differ without end."""
    if isinstance(value, str) and _usual_count(value):
        return value
    return _fixed(values.count(value), 2)


def _optional_count(value: Number) -> str | None:
    return None if value is None or value == "" else _count(value)


def _taker(*said: str | None) -> Side | None:
    for word in said:
        if (side := _SIDES.get(word)) is not None:
            return side
    return None


def _time(milliseconds: Number) -> datetime | None:
    # In a burst many messages are of one moment.
    return _MOMENTS[milliseconds] if isinstance(milliseconds, _NUMBERS) else None


# --- bodies ---------------------------------------------------------------------------------------


class _TradeBody(msgspec.Struct, gc=False):
    market_ticker: Ticker
    trade_id: Ticker
    yes_price_dollars: Number
    count_fp: Number
    taker_outcome_side: Text = None
    taker_book_side: Text = None
    taker_side: Text = None
    is_block_trade: Flag = None
    ts_ms: Number = None


class _TickerBody(msgspec.Struct, gc=False):
    market_ticker: Ticker
    price_dollars: Number = None
    yes_bid_dollars: Number = None
    yes_ask_dollars: Number = None
    yes_bid_size_fp: Number = None
    yes_ask_size_fp: Number = None
    last_trade_size_fp: Number = None
    volume_fp: Number = None
    open_interest_fp: Number = None
    ts_ms: Number = None


class _SnapshotBody(msgspec.Struct, gc=False):
    market_ticker: Ticker
    yes_dollars_fp: list[tuple[Number, Number]] | None = None
    no_dollars_fp: list[tuple[Number, Number]] | None = None


class _DeltaBody(msgspec.Struct, gc=False):
    market_ticker: Ticker
    price_dollars: Number
    delta_fp: Number
    side: Literal["yes", "no"]
    ts_ms: Number = None


class _RestSides(msgspec.Struct, gc=False):
    yes_dollars: list[tuple[Number, Number]] | None = None
    no_dollars: list[tuple[Number, Number]] | None = None


class _RestRow(msgspec.Struct, gc=False):
    ticker: Ticker
    orderbook_fp: _RestSides


class _RestReply(msgspec.Struct, gc=False):
    orderbooks: list[_RestRow]


_books_reply = msgspec.json.Decoder(_RestReply).decode
_trade_body = msgspec.json.Decoder(_TradeBody).decode
_ticker_body = msgspec.json.Decoder(_TickerBody).decode
_snapshot_body = msgspec.json.Decoder(_SnapshotBody).decode
_delta_body = msgspec.json.Decoder(_DeltaBody).decode


def _trade(raw: bytes) -> Trade:
    body = _trade_body(raw)
    return Trade(
        body.market_ticker,
        body.trade_id,
        _PRICES[body.yes_price_dollars],
        _count(body.count_fp),
        _taker(body.taker_outcome_side, body.taker_book_side, body.taker_side),
        bool(body.is_block_trade),
        _time(body.ts_ms),
    )


def _quote(raw: bytes) -> Quote:
    body = _ticker_body(raw)
    counts: tuple[Any, ...] = (
        body.yes_bid_size_fp,
        body.yes_ask_size_fp,
        body.last_trade_size_fp,
        body.volume_fp,
        body.open_interest_fp,
    )
    try:
        are_usual = _usual_counts(" ".join(counts))
    except TypeError:
        # One of them is no text.
        are_usual = None
    if not are_usual:
        counts = tuple(map(_optional_count, counts))
    prices = _OPTIONAL_PRICES
    yes_bid_size, yes_ask_size, last_size, volume, open_interest = counts
    return Quote(
        body.market_ticker,
        prices[body.price_dollars],
        prices[body.yes_bid_dollars],
        prices[body.yes_ask_dollars],
        yes_bid_size,
        yes_ask_size,
        last_size,
        volume,
        open_interest,
        _time(body.ts_ms),
    )


def _levels(levels: list[tuple[Number, Number]] | None) -> tuple[Level, ...]:
    return tuple((_PRICES[price], _count(count)) for price, count in levels or ())


def _snapshot(raw: bytes) -> BookSnapshot:
    body = _snapshot_body(raw)
    return BookSnapshot(
        body.market_ticker, _levels(body.yes_dollars_fp), _levels(body.no_dollars_fp)
    )


def _delta(raw: bytes) -> BookDelta:
    body = _delta_body(raw)
    price, delta = _PRICES[body.price_dollars], _count(body.delta_fp)
    return BookDelta(body.market_ticker, body.side, price, delta, _time(body.ts_ms))


_READERS: dict[str, Any] = {TRADE: _trade, TICKER: _quote, SNAPSHOT: _snapshot, BOOK: _delta}
