"""/v1/markets/{ticker}/trades, /ticker and /book: what connector captured."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from ssmd_api import context, cursors, replies
from ssmd_api.cursors import Cursor
from ssmd_api.document import Answer
from ssmd_api.marketdata import Captured, Market, MarketData
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_common import tables
from ssmd_common.columns import Table

_SORT: Final = "trades"
_NAMES: Final = Table(
    tables.MARKETS.name, (tables.MARKETS["series_ticker"], tables.MARKETS["event_ticker"])
)
_NO_PAST: Final = "is not known of market data: trades have times of their own"


async def list_trades(request: web.Request) -> web.Response:
    """A market's trades, the last first, as far as the stream keeps them."""
    return await replies.recent(request, _trades)


async def _trades(request: web.Request) -> Answer:
    given = Parameters(request.query, datetime.now(UTC))
    limit, cursor = given.limit(), given.cursor(_SORT)
    given.no_as_of(_NO_PAST)
    ticker = named(request, "ticker", "market")
    if cursor and cursor.ticker != ticker:
        given.fault("cursor", "belongs to another market")
    given.done()
    market = await _market(request, ticker)
    before = cursor.key if cursor and isinstance(cursor.key, int) else None
    found, going_on = await context.of(request).market_data.trades(market, limit, before)
    following = None if going_on is None else cursors.encode(Cursor(_SORT, going_on, ticker))
    document = {
        "ticker": ticker,
        "trades": found.found,
        "capture": found.capture,
        "cursor": following,
    }
    return replies.answer(request, document, "stream", found.received_at, following)


def _one(
    name: str, read: Callable[[MarketData, Market], Awaitable[Captured]]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> Answer:
        given = Parameters(request.query, datetime.now(UTC))
        given.no_as_of(_NO_PAST)
        ticker = named(request, "ticker", "market")
        given.done()
        market = await _market(request, ticker)
        found = await read(context.of(request).market_data, market)
        document = {"ticker": ticker, name: found.found, "capture": found.capture}
        return replies.answer(request, document, "stream", found.received_at)

    async def show(request: web.Request) -> web.Response:
        return await replies.recent(request, answer)

    return show


show_ticker = _one("quote", MarketData.quote)
show_book = _one("book", MarketData.book)


async def named_market(request: web.Request) -> Market:
    """The market that the path names.

    Raises:
        Problem: 404, there is none.
    """
    return await _market(request, named(request, "ticker", "market"))


async def _market(request: web.Request, ticker: str) -> Market:
    found = (await context.of(request).store.lookup([ticker], _NAMES)).get(ticker)
    if found is None:
        raise not_found("market", ticker)
    return Market(ticker, found["series_ticker"], found["event_ticker"])
