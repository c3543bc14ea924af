"""What disappeared from the exchange (docs/architecture.md § 7).

A row is soft-deleted only when a complete scan missed it and the exchange, asked for it by ticker,
does not know it. If that is true of suspiciously many, nothing is deleted and somebody is told.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from ssmd_kalshi.errors import NotFoundError
from ssmd_kalshi.filters import MAX_QUERY_CHARACTERS
from ssmd_kalshi.pages import Page
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.wire import WireRow
from ssmd_sync.batches import queries
from ssmd_sync.fetch import Rows, event_rows, market_rows

W = TypeVar("W", bound=WireRow)

ALWAYS_BELIEVED: Final = 50
BELIEVED_SHARE: Final = 0.02
TICKERS_PER_REQUEST: Final = 200
"""As many as a page of events; a page of markets has room for more than a query has."""


def believable(missing: int, scope: int) -> bool:
    """Whether so many of `scope` rows may have disappeared between two scans."""
    return missing <= max(ALWAYS_BELIEVED, BELIEVED_SHARE * scope)


class Missing:
    """Asks the exchange by ticker for what a scan did not show.

    The listing methods give back what was found after all, to be written, and what was not.
    """

    def __init__(self, rest: KalshiRest) -> None:
        self._rest = rest

    async def markets(self, tickers: Iterable[str]) -> tuple[list[Rows], list[str]]:
        """Markets in either tier, and the tickers that neither has."""
        wanted = sorted(tickers)
        live = await self._listed(wanted, self._rest.markets, market_rows)
        left = _without(wanted, live)
        found = [*live, *await self._listed(left, self._rest.historical_markets, market_rows)]
        return found, _without(wanted, found)

    async def events(self, tickers: Iterable[str]) -> tuple[list[Rows], list[str]]:
        """Events, and the tickers that are unknown."""
        wanted = sorted(tickers)
        found = await self._listed(wanted, self._rest.events, event_rows)
        return found, _without(wanted, found)

    async def _listed(
        self,
        wanted: Sequence[str],
        listing: Callable[..., AsyncIterator[Page[W]]],
        read: Callable[[Page[W], datetime], Rows],
    ) -> list[Rows]:
        found: list[Rows] = []
        for part in queries(wanted, TICKERS_PER_REQUEST, MAX_QUERY_CHARACTERS):
            asked_at = datetime.now(UTC)
            found += [read(page, asked_at) async for page in listing(tickers=part)]
        return found

    async def confirm_markets(self, tickers: Sequence[str]) -> list[str]:
        """Those for which the exchange, asked for exactly one, answers 404.

        A list of tickers omits what it does not know without a word, and so would a list that was
        cut short; a 404 is a word.
        """
        return [ticker for ticker in tickers if await self._is_unknown(self._rest.market, ticker)]

    async def confirm_events(self, tickers: Sequence[str]) -> list[str]:
        return [ticker for ticker in tickers if await self._is_unknown(self._rest.event, ticker)]

    async def confirm_series(self, tickers: Sequence[str]) -> list[str]:
        return [t for t in tickers if await self._is_unknown(self._rest.one_series, t)]

    async def _is_unknown(self, ask: Callable[[str], Awaitable[object]], ticker: str) -> bool:
        try:
            await ask(ticker)
        except NotFoundError:
            return True
        return False


def _without(wanted: Sequence[str], found: Sequence[Rows]) -> list[str]:
    seen = {market.ticker for rows in found for market in rows.markets}
    seen |= {event.event_ticker for rows in found for event in rows.events}
    # A row that cannot be read exists nevertheless.
    seen |= {row.ticker for rows in found for row in rows.set_aside if row.ticker}
    return [ticker for ticker in wanted if ticker not in seen]
