"""Order books of a connection's subscription: exact, and `valid` only while continuous. Pure."""

from __future__ import annotations

from ssmd_common.book import Book
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
from ssmd_kalshi.marketdata import BOOK, BookDelta, BookSnapshot

# The others come with a new subscription: `Ended` or `Disconnected` said it before.
_BREAKS = frozenset({GapReason.SEQUENCE, GapReason.UNREADABLE})


class Books:
    """The books of one connection, told all of its events in their order."""

    def __init__(self, *, yes_price: bool = True) -> None:
        """`yes_price` as the subscription's `Selection` has it."""
        self._yes_price = yes_price
        self._books: dict[str, Book] = {}

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
                self._doubt()
            case MarketsRemoved(channel=channel, tickers=tickers) if channel == BOOK:
                for ticker in tickers:
                    self._books.pop(ticker, None)
        return None

    def _doubt(self) -> None:
        for book in self._books.values():
            book.valid = False

    def _message(self, event: MarketData) -> Book | None:
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
