"""Which markets' trades and quotes are published, asked with each message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ssmd_common.tickers import is_multivariate
from ssmd_connector.scope import Scope
from ssmd_connector.secmaster import LiveView

_REMEMBERED: Final = 200_000


class Wants:
    """By the scope file; a market that the secmaster does not know (yet) is wanted."""

    def __init__(self, view: LiveView, scope: Callable[[], Scope], *, multivariate: bool) -> None:
        self._view = view
        self._scope = scope
        self._multivariate = multivariate
        self._known: dict[str, bool] = {}
        view.listen(self.forget)

    def __call__(self, ticker: str) -> bool:
        if not self._multivariate and is_multivariate(ticker):
            return False
        selectors = self._scope().markets
        if selectors is None:
            return True
        found = self._known.get(ticker)
        if found is not None:
            return found
        market = self._view.market(ticker)
        if market is None:
            return True
        series, category = self._view.series_of(market), self._view.category_of(market)
        found = any(selector.fits(market, series, category) for selector in selectors)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[ticker] = found
        return found

    def forget(self, ticker: str | None = None) -> None:
        """What was found of a market, or of all, may not hold any more."""
        if ticker is None:
            self._known.clear()
        else:
            self._known.pop(ticker, None)
