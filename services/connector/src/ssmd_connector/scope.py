"""Which markets are published, and which books are kept: the scope file's rules. Pure.

A selector fits a market that has everything it names; of a list one is enough. A list of selectors
takes what any of them fits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Protocol
from zlib import crc32

import msgspec
from msgspec import json

from ssmd_common.status import MarketStatus

Count = Annotated[int, msgspec.Meta(ge=1)]
Hours = Annotated[float, msgspec.Meta(gt=0)]


class MarketFacts(Protocol):
    """What of a market decides."""

    @property
    def ticker(self) -> str: ...
    @property
    def event_ticker(self) -> str: ...
    @property
    def series_ticker(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def close_time(self) -> datetime | None: ...
    @property
    def deleted_at(self) -> datetime | None: ...
    @property
    def volume_24h(self) -> int | None: ...


class SeriesFacts(Protocol):
    """What of a series decides."""

    @property
    def tags(self) -> list[str] | None: ...
    @property
    def is_game(self) -> bool | None: ...
    @property
    def volume(self) -> int | None: ...


class Selector(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Of markets. `min_volume` is the series', in whole contracts; `games_only` takes series that
    are about single games."""

    series: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    games_only: bool = False
    min_volume: int = 0

    def fits(self, market: MarketFacts, series: SeriesFacts | None, category: str | None) -> bool:
        """Whether a market has all that is named; `series` None: it is not known yet."""
        if self.series and market.series_ticker not in self.series:
            return False
        if self.categories and category not in self.categories:
            return False
        if self.tags and not set(self.tags).intersection((series and series.tags) or ()):
            return False
        if self.games_only and not (series and series.is_game):
            return False
        return not self.min_volume or ((series and series.volume) or 0) >= self.min_volume


class BookSelector(Selector, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of books. `most_traded` takes so many of the fitting markets, by the volume of 24 hours."""

    most_traded: Count | None = None
    closing_within_hours: Hours | None = None

    def is_due(self, market: MarketFacts, now: datetime) -> bool:
        """Whether it closes soon enough."""
        if self.closing_within_hours is None:
            return True
        at = market.close_time
        return at is not None and at <= now + timedelta(hours=self.closing_within_hours)


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`markets`: whose trades and quotes are published, without it all; `books`: whose books are,
    without it none."""

    markets: tuple[Selector, ...] | None = None
    books: tuple[BookSelector, ...] = ()

    @property
    def market_selectors(self) -> list[dict[str, Any]] | None:
        """`markets` as the file has them."""
        # As a reader of the record gets them: lists.
        return None if self.markets is None else json.decode(json.encode(self.markets))

    @property
    def moves(self) -> bool:
        """Whether time alone, or trading, changes what is in it."""
        return any(one.most_traded or one.closing_within_hours for one in self.books)

    def unknown(
        self, categories: Collection[str], series: Collection[str], tags: Collection[str]
    ) -> list[str]:
        """A sentence for each name that the secmaster does not have."""
        found = []
        selectors: tuple[Selector, ...] = (*(self.markets or ()), *self.books)
        for what, known, named in (
            ("category", categories, [name for one in selectors for name in one.categories]),
            ("series", series, [name for one in selectors for name in one.series]),
            ("tag", tags, [name for one in selectors for name in one.tags]),
        ):
            found += [
                f"the scope names the {what} {name!r}, which the secmaster does not have"
                for name in dict.fromkeys(named)
                if name not in known
            ]
        return found


def scope_of(document: Any) -> Scope:
    """The scope that a YAML document describes; nothing at all is everything, without books.

    Raises:
        ValueError: it cannot be read; the message says which field, and why.
    """
    try:
        return msgspec.convert(document or {}, Scope, strict=True)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def trades(market: MarketFacts) -> bool:
    """Whether there is a book to subscribe to."""
    return market.status == MarketStatus.ACTIVE and market.deleted_at is None


def shard_of(ticker: str, count: int) -> int:
    """Which of `count` shards has a market's book."""
    return crc32(ticker.encode()) % count


def most_traded(markets: Iterable[MarketFacts], count: int) -> list[str]:
    """The tickers of the `count` most traded; of equals the first by name."""
    ranked = sorted(markets, key=lambda market: (-(market.volume_24h or 0), market.ticker))
    return [market.ticker for market in ranked[:count]]
