"""Which books are wanted now: the scope's selectors over the live view, kept current. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol

from ssmd_connector.scope import (
    BookSelector,
    MarketFacts,
    Scope,
    SeriesFacts,
    most_traded,
    shard_of,
    trades,
)


class Known(Protocol):
    """The live view."""

    def market(self, ticker: str) -> MarketFacts | None: ...
    def series_of(self, market: MarketFacts) -> SeriesFacts | None: ...
    def category_of(self, market: MarketFacts) -> str | None: ...
    def trading(self) -> Iterable[MarketFacts]: ...


class BookChoice:
    """Of one shard of `shards`."""

    def __init__(self, known: Known, shard: int, shards: int) -> None:
        self._known = known
        self._shard = shard
        self._shards = shards
        self._scope = Scope()
        self._most_traded: dict[int, set[str]] = {}
        self.wanted: set[str] = set()

    def choose(self, scope: Scope, now: datetime) -> Iterator[None]:
        """Choose anew among all markets, a part at each step; `wanted` is right after the last."""
        if scope is not self._scope:
            self._scope, self._most_traded = scope, {}
        fitting: list[list[MarketFacts]] = [[] for _ in scope.books]
        for number, market in enumerate(self._known.trading() if scope.books else ()):
            if number % 2000 == 1999:
                yield
            for at, selector in enumerate(scope.books):
                if self._fits(selector, market, now):
                    fitting[at].append(market)
        wanted: set[str] = set()
        for at, selector in enumerate(scope.books):
            found = [market.ticker for market in fitting[at]]
            if selector.most_traded is not None:
                # The N most traded of all shards together, of which this one takes its own.
                found = most_traded(fitting[at], selector.most_traded)
                self._most_traded[at] = set(found)
            wanted.update(ticker for ticker in found if self._is_ours(ticker))
        # Much may have happened since the first step, and `look` has seen what was not there then.
        self.wanted = {each for each in wanted | self.wanted if self.is_wanted(each, now)}
        yield

    def is_wanted(self, ticker: str, now: datetime) -> bool:
        """Whether a market's book is wanted, as it is now."""
        market = self._known.market(ticker)
        if market is None or not trades(market) or not self._is_ours(ticker):
            return False
        return any(
            self._fits(selector, market, now) and self._is_among(at, selector, ticker)
            for at, selector in enumerate(self._scope.books)
        )

    def look(self, ticker: str, now: datetime) -> bool | None:
        """What a change of a market means: True, its book is wanted from now on; False, no more;
        None, all stays."""
        is_wanted = self.is_wanted(ticker, now)
        if is_wanted is (ticker in self.wanted):
            if not is_wanted:
                self._forget(ticker)
            return None
        if is_wanted:
            self.wanted.add(ticker)
        else:
            self.wanted.discard(ticker)
            self._forget(ticker)
        return is_wanted

    def _fits(self, selector: BookSelector, market: MarketFacts, now: datetime) -> bool:
        if selector.series and market.series_ticker not in selector.series:
            # Before anything is looked up.
            return False
        known = self._known
        return selector.fits(
            market, known.series_of(market), known.category_of(market)
        ) and selector.is_due(market, now)

    def _is_among(self, at: int, selector: BookSelector, ticker: str) -> bool:
        """Whether it is one of the most traded; a new one fills a place that is free."""
        if selector.most_traded is None:
            return True
        chosen = self._most_traded.setdefault(at, set())
        if ticker not in chosen and len(chosen) < selector.most_traded:
            chosen.add(ticker)
        return ticker in chosen

    def _forget(self, ticker: str) -> None:
        """A market that ended leaves its place to another."""
        market = self._known.market(ticker)
        if market is None or not trades(market):
            for chosen in self._most_traded.values():
                chosen.discard(ticker)

    def _is_ours(self, ticker: str) -> bool:
        return self._shards == 1 or shard_of(ticker, self._shards) == self._shard
