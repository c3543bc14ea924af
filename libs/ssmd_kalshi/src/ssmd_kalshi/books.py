"""Order books of a connection's subscription: exact, and `valid` only while continuous. Pure.

A book has both sides in what YES costs: bids for YES, and asks, which are bids for NO seen from the
other side (a bid of $0.40 for NO is an ask of $0.60).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from ssmd_common.memo import Memo
from ssmd_kalshi.feed import (
    Connected,
    Disconnected,
    Ended,
    FeedEvent,
    Gap,
    GapReason,
    MarketData,
    MarketsRemoved,
)
from ssmd_kalshi.marketdata import BOOK, BookDelta, BookSnapshot, Level
from ssmd_kalshi.sequences import RESTART_DISTANCE

_ONE = Decimal(1)
_NONE = Decimal(0)
_price = Memo(Decimal)

# The others come with a new subscription: `Ended` or `Disconnected` said it before.
_BREAKS = frozenset({GapReason.SEQUENCE, GapReason.UNREADABLE})


class Book:
    """The book of one market."""

    __slots__ = ("asks", "bids", "ticker", "valid")

    def __init__(self, ticker: str) -> None:
        self.ticker = ticker
        self.bids: dict[Decimal, Decimal] = {}
        """Contracts by price in dollars of YES, no level without any; `asks` likewise."""
        self.asks: dict[Decimal, Decimal] = {}
        self.valid = False
        """Whether it is the exchange's as of the last message: whole since its snapshot."""

    def begin(self, yes: Iterable[Level], no: Iterable[Level], *, yes_price: bool) -> None:
        """Take the levels of a snapshot; `yes_price`: those of NO are given as what YES costs."""
        self.bids = {_price[price]: Decimal(count) for price, count in yes if Decimal(count)}
        self.asks = {
            _price[price] if yes_price else _ONE - _price[price]: Decimal(count)
            for price, count in no
            if Decimal(count)
        }
        self.valid = all(count > 0 for side in (self.bids, self.asks) for count in side.values())

    def change(self, side: str, price: str, delta: str, *, yes_price: bool) -> None:
        """Apply a change of one level. A level below zero means that something was missed."""
        at = _price[price]
        levels = self.bids
        if side == "no":
            levels = self.asks
            if not yes_price:
                at = _ONE - at
        count = levels.get(at, _NONE) + Decimal(delta)
        if count > 0:
            levels[at] = count
            return
        levels.pop(at, None)
        if count < 0:
            self.valid = False

    def ladder(self) -> tuple[list[Level], list[Level]]:
        """Bids from the highest, asks from the lowest, in the texts of `ssmd_kalshi.marketdata`."""
        bids = sorted(self.bids.items(), reverse=True)
        return _texts(bids), _texts(sorted(self.asks.items()))


class Books:
    """The books of one connection, told all of its events in their order."""

    def __init__(self, *, yes_price: bool = True) -> None:
        """`yes_price` as the subscription's `Selection` has it."""
        self._yes_price = yes_price
        self._books: dict[str, Book] = {}
        self._last: dict[int | None, int] = {}

    def __getitem__(self, ticker: str) -> Book:
        return self._books[ticker]

    def __contains__(self, ticker: object) -> bool:
        return ticker in self._books

    def __len__(self) -> int:
        return len(self._books)

    @property
    def tickers(self) -> list[str]:
        return list(self._books)

    def take(self, event: FeedEvent) -> Book | None:
        """The book that the event changed; None if it changed none, or made several invalid.

        A book that turns out impossible (a level below zero) is returned invalid: ask for its
        snapshot (`KalshiSocket.renew`).
        """
        match event:
            case MarketData(channel=channel) if channel == BOOK:
                return self._message(event)
            case Gap(channel=channel, reason=reason) if channel == BOOK and reason in _BREAKS:
                self._doubt()
            case Ended(channel=channel) if channel == BOOK:
                self._doubt()
            case Disconnected() | Connected():
                self._last.clear()
                self._doubt()
            case MarketsRemoved(channel=channel, tickers=tickers) if channel == BOOK:
                for ticker in tickers:
                    self._books.pop(ticker, None)
        return None

    def _doubt(self) -> None:
        for book in self._books.values():
            book.valid = False

    def _message(self, event: MarketData) -> Book | None:
        seq, last = event.seq, self._last.get(event.sid, 0)
        if seq is not None:
            if seq <= last and last - seq < RESTART_DISTANCE:
                # Late or for the second time: what it says is older than the book.
                return None
            self._last[event.sid] = seq
        said = event.said
        book = self._books.get(said.ticker)
        if isinstance(said, BookSnapshot):
            if book is None:
                book = self._books[said.ticker] = Book(said.ticker)
            book.begin(said.yes, said.no, yes_price=self._yes_price)
            return book
        if book is None or not book.valid or not isinstance(said, BookDelta):
            return None
        book.change(said.side, said.price, said.delta, yes_price=self._yes_price)
        return book


def _texts(levels: list[tuple[Decimal, Decimal]]) -> list[Level]:
    return [(f"{price:.{_places(price, 4)}f}", f"{n:.{_places(n, 2)}f}") for price, n in levels]


def _places(number: Decimal, least: int) -> int:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(least, -exponent)
