"""Subjects of market data; tokens are encoded as in SECMASTER_CDC. Pure."""

from __future__ import annotations

from functools import lru_cache

from ssmd_stream.subjects import token

REMEMBERED = 65_536
"""Subjects of each kind: a market's is asked for with each of its messages."""


@lru_cache(maxsize=REMEMBERED)
def trade(series: str | None, event: str | None, ticker: str) -> str:
    """A trade; a market that the secmaster does not know yet has `_` for series and event."""
    return f"md.trade.{token(series)}.{token(event)}.{token(ticker)}"


@lru_cache(maxsize=REMEMBERED)
def ticker(series: str | None, event: str | None, market: str) -> str:
    """A quote."""
    return f"md.ticker.{token(series)}.{token(event)}.{token(market)}"


@lru_cache(maxsize=REMEMBERED)
def book(shard: int, series: str | None, event: str | None, market: str) -> str:
    """A snapshot or a change of a book, in the stream of its shard."""
    return f"md.book.{shard}.{token(series)}.{token(event)}.{token(market)}"


def session(connector: str) -> str:
    """What happened to the capture of trades and quotes."""
    return f"md.session.{token(connector)}"


def books_session(shard: int, connector: str) -> str:
    """What happened to the capture of a shard's books."""
    return f"md.books_session.{shard}.{token(connector)}"


def unreadable(connector: str) -> str:
    """Frames that could not be read."""
    return f"md.unreadable.{token(connector)}"


def books_unreadable(shard: int, connector: str) -> str:
    """Frames of a shard's books that could not be read."""
    return f"md.books_unreadable.{shard}.{token(connector)}"
