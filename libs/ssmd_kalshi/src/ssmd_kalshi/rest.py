"""The REST client: every market-data endpoint that the system reads, typed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Literal, Self, TypeVar

from ssmd_kalshi import decode, endpoints, filters, marketdata
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.decode import decode_object
from ssmd_kalshi.drift import Drift
from ssmd_kalshi.endpoints import (
    MAX_COLLECTIONS_PER_PAGE,
    MAX_EVENTS_PER_PAGE,
    MAX_MARKETS_PER_PAGE,
    MAX_TRADES_PER_PAGE,
    Endpoint,
)
from ssmd_kalshi.http import HttpClient
from ssmd_kalshi.marketdata import RestBook
from ssmd_kalshi.pages import Page
from ssmd_kalshi.retry import RetryPolicy
from ssmd_kalshi.scan import scan
from ssmd_kalshi.signing import Signer
from ssmd_kalshi.wire import (
    EndpointCosts,
    ExchangeSchedule,
    ExchangeStatus,
    FiltersBySport,
    WireCollection,
    WireEvent,
    WireEventFeeChange,
    WireHistoricalCutoff,
    WireMarket,
    WireRow,
    WireSeries,
    WireSeriesFeeChange,
    WireTrade,
)

R = TypeVar("R", bound=WireRow)
T = TypeVar("T")

MveFilter = Literal["only", "exclude"]
MarketStatus = Literal["unopened", "open", "paused", "closed", "settled"]
CollectionStatus = Literal["unopened", "open", "closed"]
EventStatus = Literal["unopened", "open", "closed", "settled"]

# Read also where the exchange reports its own outage with the same body.
_STATUS_CODES = frozenset({500, 503, 504})


class KalshiRest:
    """Use as `async with KalshiRest(base_url) as rest`. Safe for many tasks; they share the budget.

    Errors: `TransientError` when the exchange could not be read within the retry policy,
    `ForbiddenFilterError` before a request, `NotFoundError` for an unknown ticker, other
    `ReplyError` for other refusals. Times given to filters are seconds since 1970; lower bounds are
    exclusive.
    """

    def __init__(
        self,
        base_url: str,
        *,
        budget: Budget | float | None = None,
        signer: Signer | None = None,
        policy: RetryPolicy | None = None,
        stop: asyncio.Event | None = None,
        drift: Drift | None = None,
    ) -> None:
        """`budget` in tokens per second, or one shared by several clients; Basic (200) by default.

        `stop` ends waiting for the budget and for retries with InterruptedWaitError.
        """
        if budget is None:
            budget = Budget()
        self.budget = budget if isinstance(budget, Budget) else Budget(budget)
        self.drift = drift if drift is not None else Drift()
        self._http = HttpClient(
            base_url, budget=self.budget, signer=signer, policy=policy, stop=stop
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    # --- series ---------------------------------------------------------------------------------

    async def series(
        self,
        *,
        category: str | None = None,
        tags: Sequence[str] | None = None,
        include_volume: bool = False,
        include_product_metadata: bool = False,
        min_updated_ts: int | None = None,
    ) -> Page[WireSeries]:
        """Every series that matches, in one reply. `category` is exact and case-sensitive.

        `include_volume` costs the exchange time: expect seconds.
        """
        params = _params(
            category=category,
            tags=None if tags is None else ",".join(tags),
            include_volume=include_volume,
            include_product_metadata=include_product_metadata,
            min_updated_ts=min_updated_ts,
        )
        filters.check(endpoints.SERIES_LIST, params)
        return await self._http.get(
            endpoints.SERIES_LIST,
            lambda body: decode.SERIES_LIST.page(body, self.drift),
            params=params,
        )

    async def one_series(self, ticker: str, *, include_volume: bool = False) -> WireSeries:
        return await self._http.get(
            endpoints.SERIES,
            lambda body: decode.SERIES_LIST.one(body, self.drift),
            path=endpoints.SERIES.path(ticker=ticker),
            params=_params(include_volume=include_volume),
        )

    async def series_fee_changes(
        self, *, series_ticker: str | None = None, show_historical: bool = True
    ) -> Page[WireSeriesFeeChange]:
        """Steps of the series' fee schedules, past ones included unless `show_historical` is off.

        A series that never changed has its fee only in the series itself.
        """
        return await self._http.get(
            endpoints.SERIES_FEE_CHANGES,
            lambda body: decode.SERIES_FEE_CHANGES.page(body, self.drift),
            params=_params(series_ticker=series_ticker, show_historical=show_historical),
        )

    # --- events ---------------------------------------------------------------------------------

    def events(
        self,
        *,
        status: EventStatus | None = None,
        series_ticker: str | None = None,
        tickers: Sequence[str] | None = None,
        with_nested_markets: bool = False,
        min_close_ts: int | None = None,
        min_updated_ts: int | None = None,
        limit: int = MAX_EVENTS_PER_PAGE,
        cursor: str = "",
    ) -> AsyncGenerator[Page[WireEvent], None]:
        """Pages of events, without multivariate ones. `status` matches if any child market does.

        Nested markets leave out those settled before the historical cutoff. `cursor` resumes a
        scan.
        """
        params = _params(
            status=status,
            series_ticker=series_ticker,
            tickers=None if tickers is None else filters.ticker_list(tickers),
            with_nested_markets=with_nested_markets,
            min_close_ts=min_close_ts,
            min_updated_ts=min_updated_ts,
            limit=limit,
        )
        filters.check(endpoints.EVENTS, params)
        return self._pages(
            endpoints.EVENTS,
            params,
            lambda body: decode.EVENTS.page(body, self.drift),
            lambda row: row.event_ticker,
            cursor,
        )

    async def event(self, ticker: str, *, with_nested_markets: bool = True) -> WireEvent:
        """One event; its markets are in `markets`, wherever the exchange put them in the reply."""
        return await self._http.get(
            endpoints.EVENT,
            lambda body: decode.EVENT.one(body, self.drift),
            path=endpoints.EVENT.path(ticker=ticker),
            params=_params(with_nested_markets=with_nested_markets),
        )

    def event_fee_changes(
        self, *, event_ticker: str | None = None, limit: int = 1000, cursor: str = ""
    ) -> AsyncGenerator[Page[WireEventFeeChange], None]:
        """Pages of event fee overrides, scheduled and past."""
        params = _params(event_ticker=event_ticker, limit=limit)
        filters.check(endpoints.EVENT_FEE_CHANGES, params)
        return self._pages(
            endpoints.EVENT_FEE_CHANGES,
            params,
            lambda body: decode.EVENT_FEE_CHANGES.page(body, self.drift),
            lambda row: row.id or f"{row.event_ticker} {row.scheduled_ts}",
            cursor,
        )

    def collections(
        self,
        *,
        status: CollectionStatus | None = None,
        series_ticker: str | None = None,
        limit: int = MAX_COLLECTIONS_PER_PAGE,
        cursor: str = "",
    ) -> AsyncGenerator[Page[WireCollection], None]:
        """Pages of multivariate event collections; without `status` also those that are closed."""
        params = _params(status=status, series_ticker=series_ticker, limit=limit)
        filters.check(endpoints.COLLECTIONS, params)
        return self._pages(
            endpoints.COLLECTIONS,
            params,
            lambda body: decode.COLLECTIONS.page(body, self.drift),
            lambda row: row.collection_ticker,
            cursor,
        )

    # --- markets --------------------------------------------------------------------------------

    def markets(
        self,
        *,
        status: MarketStatus | None = None,
        event_ticker: str | None = None,
        series_ticker: str | None = None,
        tickers: Sequence[str] | None = None,
        min_created_ts: int | None = None,
        max_created_ts: int | None = None,
        min_close_ts: int | None = None,
        max_close_ts: int | None = None,
        min_settled_ts: int | None = None,
        max_settled_ts: int | None = None,
        min_updated_ts: int | None = None,
        max_updated_ts: int | None = None,
        mve_filter: MveFilter | Literal["default", "none"] = "default",
        limit: int = MAX_MARKETS_PER_PAGE,
        cursor: str = "",
    ) -> AsyncGenerator[Page[WireMarket], None]:
        """Pages of markets of the live tier.

        Multivariate markets are excluded by default, unless `tickers` names what is wanted; "none"
        sends no filter. `tickers` silently omits unknown ones. `min_updated_ts` sees only changes
        that are not trading.
        """
        if mve_filter == "default":
            mve_filter = "none" if tickers is not None else "exclude"
        params = _params(
            status=status,
            event_ticker=event_ticker,
            series_ticker=series_ticker,
            tickers=None if tickers is None else filters.ticker_list(tickers),
            min_created_ts=min_created_ts,
            max_created_ts=max_created_ts,
            min_close_ts=min_close_ts,
            max_close_ts=max_close_ts,
            min_settled_ts=min_settled_ts,
            max_settled_ts=max_settled_ts,
            min_updated_ts=min_updated_ts,
            max_updated_ts=max_updated_ts,
            mve_filter=None if mve_filter == "none" else mve_filter,
            limit=limit,
        )
        filters.check(endpoints.MARKETS, params)
        return self._market_pages(endpoints.MARKETS, params, cursor)

    async def market(self, ticker: str) -> WireMarket:
        """One market of the live tier. NotFoundError also just after `created`, and for settled
        markets that moved to the historical tier."""
        return await self._http.get(
            endpoints.MARKET,
            lambda body: decode.MARKET.one(body, self.drift),
            path=endpoints.MARKET.path(ticker=ticker),
        )

    def historical_markets(
        self,
        *,
        tickers: Sequence[str] | None = None,
        event_ticker: str | None = None,
        series_ticker: str | None = None,
        exclude_mve: bool = True,
        limit: int = MAX_MARKETS_PER_PAGE,
        cursor: str = "",
    ) -> AsyncGenerator[Page[WireMarket], None]:
        """Pages of markets that settled before the cutoff. At most one of the three filters."""
        params = _params(
            tickers=None if tickers is None else filters.ticker_list(tickers),
            event_ticker=event_ticker,
            series_ticker=series_ticker,
            mve_filter="exclude" if exclude_mve and tickers is None else None,
            limit=limit,
        )
        filters.check(endpoints.HISTORICAL_MARKETS, params)
        return self._market_pages(endpoints.HISTORICAL_MARKETS, params, cursor)

    async def historical_market(self, ticker: str) -> WireMarket:
        """One market of the historical tier."""
        return await self._http.get(
            endpoints.HISTORICAL_MARKET,
            lambda body: decode.MARKET.one(body, self.drift),
            path=endpoints.HISTORICAL_MARKET.path(ticker=ticker),
        )

    async def historical_cutoff(self) -> WireHistoricalCutoff:
        return await self._object(endpoints.HISTORICAL_CUTOFF, WireHistoricalCutoff)

    # --- trades and books -------------------------------------------------------------------------

    def trades(
        self,
        *,
        ticker: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        limit: int = MAX_TRADES_PER_PAGE,
        cursor: str = "",
    ) -> AsyncGenerator[Page[WireTrade], None]:
        """Pages of trades of all markets or one, the latest first, block trades included; those
        before the cutoff (`historical_cutoff`, `trades_created_ts`) are in `historical_trades`.

        Bounds are whole seconds, and whether they are part of the interval nobody wrote down: leave
        a second on either side. `marketdata.trade_of_rest` reads a row.
        """
        return self._trade_pages(endpoints.TRADES, ticker, min_ts, max_ts, limit, cursor)

    def historical_trades(
        self,
        *,
        ticker: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        limit: int = MAX_TRADES_PER_PAGE,
        cursor: str = "",
    ) -> AsyncGenerator[Page[WireTrade], None]:
        """Pages of trades from before the cutoff, as `trades` gives the later ones."""
        return self._trade_pages(endpoints.HISTORICAL_TRADES, ticker, min_ts, max_ts, limit, cursor)

    def _trade_pages(
        self,
        endpoint: Endpoint,
        ticker: str | None,
        min_ts: int | None,
        max_ts: int | None,
        limit: int,
        cursor: str,
    ) -> AsyncGenerator[Page[WireTrade], None]:
        params = _params(ticker=ticker, min_ts=min_ts, max_ts=max_ts, limit=limit)
        filters.check(endpoint, params)
        return self._pages(
            endpoint,
            params,
            lambda body: decode.TRADES.page(body, self.drift),
            lambda row: row.trade_id,
            cursor,
        )

    async def orderbooks(self, tickers: Sequence[str]) -> dict[str, RestBook]:
        """The books of up to 100 markets as they are now; unknown markets are absent.

        ForbiddenFilterError for none or too many; BrokenReplyError (after retries) where a book
        cannot be read.
        """
        filters.check_orderbooks(tickers)
        return await self._http.get(
            endpoints.ORDERBOOKS, marketdata.rest_books, params={"tickers": tuple(tickers)}
        )

    # --- reference and exchange -------------------------------------------------------------------

    async def tags_by_categories(self) -> dict[str, list[str]]:
        """Tags of each category; a category without any (null on the wire) has an empty list."""
        tags = await self._object(
            endpoints.TAGS_BY_CATEGORIES, dict[str, list[str] | None], "tags_by_categories"
        )
        return {category: names or [] for category, names in tags.items()}

    async def filters_by_sport(self) -> FiltersBySport:
        return await self._object(endpoints.FILTERS_BY_SPORT, FiltersBySport)

    async def exchange_status(self) -> ExchangeStatus:
        """Also when the exchange reports its own outage with a 503."""
        return await self._http.get(
            endpoints.EXCHANGE_STATUS,
            lambda body: decode_object(body, ExchangeStatus),
            also_read=_STATUS_CODES,
        )

    async def exchange_schedule(self) -> ExchangeSchedule:
        return await self._object(endpoints.EXCHANGE_SCHEDULE, ExchangeSchedule, "schedule")

    async def endpoint_costs(self) -> EndpointCosts:
        """The exchange's list of costs; the budget charges by it from then on."""
        costs = await self._object(endpoints.ENDPOINT_COSTS, EndpointCosts)
        self.budget.learn(costs)
        return costs

    # --- how ------------------------------------------------------------------------------------

    async def _object(self, endpoint: Endpoint, into: type[T], key: str | None = None) -> T:
        return await self._http.get(endpoint, lambda body: decode_object(body, into, key))

    def _market_pages(
        self, endpoint: Endpoint, params: dict[str, str | int], cursor: str
    ) -> AsyncGenerator[Page[WireMarket], None]:
        return self._pages(
            endpoint,
            params,
            lambda body: decode.MARKETS.page(body, self.drift),
            lambda row: row.ticker,
            cursor,
        )

    def _pages(
        self,
        endpoint: Endpoint,
        params: dict[str, str | int],
        read: Callable[[bytes], Page[R]],
        key: Callable[[R], str],
        cursor: str,
    ) -> AsyncGenerator[Page[R], None]:
        async def ask(cursor: str) -> Page[R]:
            here = {**params, "cursor": cursor} if cursor else params
            return await self._http.get(endpoint, read, params=here)

        limit = int(params["limit"])
        return scan(ask, key, endpoint=endpoint.name, limit=limit, cursor=cursor)


def _params(**values: str | int | bool | None) -> dict[str, str | int]:
    """Query parameters without absent ones; the exchange writes booleans in lower case and defaults
    them to false."""
    params: dict[str, str | int] = {}
    for name, value in values.items():
        if value is None or value is False:
            continue
        params[name] = "true" if value is True else value
    return params
