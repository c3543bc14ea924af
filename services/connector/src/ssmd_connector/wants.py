"""Which markets' trades and quotes are published, asked with each message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ssmd_common.tickers import is_multivariate
from ssmd_connector.leftout import LeftOut
from ssmd_connector.scope import Scope
from ssmd_connector.secmaster import LiveView

_REMEMBERED: Final = 200_000
_AT_ONCE: Final = 500
LOOK_SECONDS: Final = 60.0
"""How often all markets are looked at for those that the scope leaves out in silence."""


class Wants:
    """By the scope file; a market that the secmaster does not know (yet) is wanted."""

    def __init__(self, view: LiveView, scope: Callable[[], Scope], *, multivariate: bool) -> None:
        self._view = view
        self._scope = scope
        self._multivariate = multivariate
        self._known: dict[str, bool] = {}
        self._again = asyncio.Event()
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
            self._again.set()
        else:
            self._known.pop(ticker, None)

    async def look(self, left_out: LeftOut) -> None:
        """Note the active markets that are not wanted, again and again: of one that says nothing
        nobody would learn it."""
        while True:
            if self._scope().markets is not None and self._view.is_ready:
                for number, market in enumerate(self._view.trading(), 1):
                    if not self(market.ticker):
                        left_out.note(market.ticker)
                    if number % _AT_ONCE == 0:
                        await asyncio.sleep(0)
            self._again.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._again.wait()
