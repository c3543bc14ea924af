"""Captured market data: trades, the last quote and the book of a market (docs/api.md).

Prices are what YES costs, in dollars, counts contracts: all exact (`Decimal`).
"""

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeVar

import msgspec

from ssmd_client.decoding import decode
from ssmd_client.lists import Rows
from ssmd_client.transport import Transport, segment

T = TypeVar("T", bound=msgspec.Struct)


class _Said(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    pass


class Trade(_Said, frozen=True, kw_only=True, gc=False):
    """`taker_side` is the outcome that the taker bet on; `source` is rest for a repair's."""

    sequence: int
    trade_id: str
    price: Decimal
    count: Decimal
    taker_side: Literal["yes", "no"] | None
    block: bool
    exchange_time: datetime | None
    received_at: datetime
    source: str


class Quote(_Said, frozen=True, kw_only=True, gc=False):
    """What the exchange did not say is None; `price` is the last trade's."""

    price: Decimal | None
    yes_bid: Decimal | None
    yes_ask: Decimal | None
    yes_bid_size: Decimal | None
    yes_ask_size: Decimal | None
    last_size: Decimal | None
    volume: Decimal | None
    open_interest: Decimal | None
    exchange_time: datetime | None
    received_at: datetime


class Level(_Said, frozen=True, kw_only=True, gc=False):
    price: Decimal
    count: Decimal


class Book(_Said, frozen=True, kw_only=True, gc=False):
    """Bids from the highest, asks from the lowest; `doubt` says why it is not `valid`."""

    bids: list[Level]
    asks: list[Level]
    valid: bool
    doubt: str | None
    snapshot_at: datetime
    received_at: datetime
    confirmed_at: datetime | None


class Capture(_Said, frozen=True, kw_only=True, gc=False):
    """What the stream holds, and what speaks against it."""

    stream: str
    since: datetime | None
    until: datetime | None
    note: str | None


class MarketQuote(_Said, frozen=True, kw_only=True, gc=False):
    """`quote` is None where none is in the stream: `capture` says why."""

    ticker: str
    quote: Quote | None
    capture: Capture


class MarketBook(_Said, frozen=True, kw_only=True, gc=False):
    """`book` is None where none is in the streams: `capture` says why."""

    ticker: str
    book: Book | None
    capture: Capture


class MarketData:
    """`client.market_data`; NotFound where there is no such market, or nothing is captured."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def trades(self, ticker: str, *, limit: int | None = None) -> Rows[Trade]:
        """The last one first, as far as the stream keeps them."""
        path = f"markets/{segment(ticker)}/trades"
        return Rows(self._transport, path, "trades", Trade, {}, limit=limit)

    def quote(self, ticker: str) -> MarketQuote:
        """The last quote."""
        return self._one(ticker, "ticker", MarketQuote)

    def book(self, ticker: str) -> MarketBook:
        """The book as it is now."""
        return self._one(ticker, "book", MarketBook)

    def _one(self, ticker: str, part: str, kind: type[T]) -> T:
        return decode(self._transport.get(f"markets/{segment(ticker)}/{part}").body, kind)
