"""Asking the exchange by ticker for what no page has shown."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
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

TICKERS_PER_REQUEST: Final = 200
"""As many as a page of events; a page of markets has room for more than a query has."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of some tickers, what the exchange has, and those that it passed over."""

    found: list[Rows]
    unknown: list[str]


class Missing:
    """`markets` and `events` ask for many at a time, and what the exchange does not know is passed
    over in silence; `confirm_…` ask for one at a time, where a 404 is an answer."""

    def __init__(self, rest: KalshiRest) -> None:
        self._rest = rest

    async def markets(self, tickers: Iterable[str]) -> AsyncIterator[Answer]:
        """Markets in either tier."""
        for part in queries(sorted(tickers), TICKERS_PER_REQUEST, MAX_QUERY_CHARACTERS):
            live = await self._listed(part, self._rest.markets, market_rows)
            if not live.unknown:
                yield live
                continue
            old = await self._listed(live.unknown, self._rest.historical_markets, market_rows)
            yield Answer([*live.found, *old.found], old.unknown)

    async def events(self, tickers: Iterable[str]) -> AsyncIterator[Answer]:
        """Events, multivariate ones aside: no listing has those."""
        for part in queries(sorted(tickers), TICKERS_PER_REQUEST, MAX_QUERY_CHARACTERS):
            yield await self._listed(part, self._rest.events, event_rows)

    async def confirm_markets(self, tickers: Sequence[str]) -> list[str]:
        """Those that the exchange does not know, as it says itself."""
        return [ticker for ticker in tickers if await self._is_unknown(self._rest.market, ticker)]

    async def confirm_events(self, tickers: Sequence[str]) -> list[str]:
        return [ticker for ticker in tickers if await self._is_unknown(self._rest.event, ticker)]

    async def confirm_series(self, tickers: Sequence[str]) -> list[str]:
        return [t for t in tickers if await self._is_unknown(self._rest.one_series, t)]

    async def _listed(
        self,
        wanted: Sequence[str],
        listing: Callable[..., AsyncIterator[Page[W]]],
        read: Callable[[Page[W], datetime], Rows],
    ) -> Answer:
        asked_at = datetime.now(UTC)
        found = [read(page, asked_at) async for page in listing(tickers=wanted)]
        there = {market.ticker for rows in found for market in rows.markets}
        there |= {event.event_ticker for rows in found for event in rows.events}
        # A row that cannot be read exists nevertheless.
        there |= {row.ticker for rows in found for row in rows.rejected_rows if row.ticker}
        return Answer(found, [ticker for ticker in wanted if ticker not in there])

    async def _is_unknown(self, ask: Callable[[str], Awaitable[object]], ticker: str) -> bool:
        try:
            await ask(ticker)
        except NotFoundError:
            return True
        return False
