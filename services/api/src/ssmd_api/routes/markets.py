"""/v1/markets"""

from datetime import UTC, datetime

import msgspec
from aiohttp import web
from multidict import MultiMapping

from ssmd_api import asked, asof, bodies, context, cursors, formats, lists, replies, shapes
from ssmd_api.asked import Asked, of_list
from ssmd_api.context import Context
from ssmd_api.cursors import Cursor
from ssmd_api.document import Answer
from ssmd_api.filters import MarketFilter
from ssmd_api.paging import Listed
from ssmd_api.parameters import Parameters, text
from ssmd_api.paths import named
from ssmd_api.problems import Fault, bad_parameters, not_found
from ssmd_api.replies import Formed, Source, reply
from ssmd_api.schemas import MAX_LOOKUP
from ssmd_api.shapes import Shape
from ssmd_common import tables


class Lookup(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/markets/lookup."""

    tickers: list[str]


async def list_markets(request: web.Request) -> web.Response:
    return await replies.recent(request, _page, formed=True)


def asked_list(query: MultiMapping[str], now: datetime) -> Asked[MarketFilter]:
    """What a query string asks for.

    Raises:
        Problem: 400, which names each parameter that is unknown or has a bad value.
    """
    return asked.read(
        Parameters(query, now), MarketFilter, tables.MARKETS, "ticker", shapes.MARKETS
    )


async def listed(service: Context, asked: Asked[MarketFilter]) -> tuple[Listed, datetime | None]:
    """The page, and since when it is known to be so: None where that is unknown, or of the past."""
    wanted, page, shape, at = asked.wanted, asked.page, asked.shape, asked.at
    if at is not None:
        async with service.store.as_of(at) as store:
            return await store.list_markets(wanted, page, shape, ()), None
    aged = await service.freshness.needs()
    found = await service.store.listed(asked.listing(lists.markets, aged))
    return found, await service.freshness.as_of(found.ages)


async def _page(request: web.Request) -> Answer:
    asked = of_list(request, MarketFilter, tables.MARKETS, "ticker", shapes.MARKETS)
    form = replies.formed(request, asked)
    found, as_of = await listed(context.of(request), asked)
    headers = asof.headers(asked.at, asked.shape)
    return await replies.page(request, "markets", found, form, as_of, headers)


async def show_market(request: web.Request) -> web.Response:
    """A market with its event and series: from the cache if it is there."""
    return await replies.recent(request, _market)


async def _market(request: web.Request) -> Answer:
    given = Parameters(request.query, datetime.now(UTC))
    shape, at = given.shape(shapes.ONE_MARKET), given.as_of()
    given.done()
    ticker = named(request, "ticker", "market")
    service = context.of(request)
    # The cache has a market with its parents, and nothing else.
    in_cache = at is None and shape.members.keys() <= shapes.ONE_MARKET.members.keys()
    if in_cache and (cached := await service.cached.market(ticker)):
        as_of = cached.as_of(await service.freshness.known())
        return replies.answer(request, cached.body(shape), "cache", as_of)
    async with service.store.as_of(at) as store:
        stored = await store.market(ticker, shape)
    if stored is None:
        raise not_found("market", ticker)
    as_of = await service.freshness.as_of([stored]) if at is None else None
    headers = asof.headers(at, shape)
    return replies.answer(request, shape.pick(stored), "database", as_of, headers=headers)


async def list_lifecycle(request: web.Request) -> web.Response:
    """A market's lifecycle events in the order in which they were stored."""
    given = Parameters(request.query, datetime.now(UTC))
    limit, cursor = given.limit(), given.cursor("lifecycle")
    shape, wished = given.shape(shapes.LIFECYCLE), given.wished()
    given.no_as_of("makes no sense of messages, which have times of their own: see history")
    ticker = named(request, "ticker", "market")
    if cursor and cursor.ticker != ticker:
        given.fault("cursor", "belongs to another market")
    given.done()
    form = Formed(formats.of(request, wished), shape)
    after = cursor.key if cursor and isinstance(cursor.key, int) else 0
    found = await context.of(request).store.lifecycle(ticker, after, limit + 1, shape.table)
    if found is None:
        raise not_found("market", ticker)
    following = None
    if len(found) > limit:
        found = found[:limit]
        following = cursors.encode(Cursor("lifecycle", found[-1]["id"], ticker))
    document = {
        "ticker": ticker,
        "lifecycle": [shape.pick(row) for row in found],
        "cursor": following,
    }
    return replies.listed(request, "lifecycle", document, form)


async def look_up(request: web.Request) -> web.Response:
    """Of up to 1,000 tickers: those that exist, in the order asked for, and those that do not."""
    given = Parameters(request.query, datetime.now(UTC))
    shape, at = _looked_up(given), given.as_of()
    given.done()
    tickers = list(dict.fromkeys(_lookup_of(await bodies.read(request)).tickers))
    service = context.of(request)
    in_cache = at is None and not shape.members
    found = await service.cached.lookup(tickers, shape.table) if tickers and in_cache else {}
    rest = [ticker for ticker in tickers if ticker not in found]
    if rest or at:
        async with service.store.as_of(at) as store:
            if shape.members:
                found = await store.lookup_including(rest, shape)
            else:
                found = {**found, **await store.lookup(rest, shape.table)}
    document = {
        "markets": [found[ticker] for ticker in tickers if ticker in found],
        "missing": [ticker for ticker in tickers if ticker not in found],
    }
    source: Source = "database" if rest or at else "cache"
    return reply(request, document, source=source, headers=asof.headers(at, shape))


def _looked_up(given: Parameters) -> Shape:
    """Of all columns where fields are named, else of the usual ones."""
    usual, included = given.including(shapes.LOOKUP)
    every = shapes.ANY_LOOKUP.including(included)

    def select(fields: list[str], exclude: list[str]) -> Shape:
        return (every if fields else usual).selected(fields, exclude)

    shape = given.chosen(usual, select)
    given.check_included(included, shape)
    return shape


def _lookup_of(body: bytes) -> Lookup:
    try:
        lookup = msgspec.json.decode(body, type=Lookup)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        detail = f'the body must be {{"tickers": ["…"]}}: {error}'
        raise bad_parameters([Fault("tickers", detail)]) from None
    if len(lookup.tickers) > MAX_LOOKUP:
        raise bad_parameters([Fault("tickers", f"may have {MAX_LOOKUP} at most")])
    try:
        for ticker in lookup.tickers:
            text(ticker)
    except ValueError as error:
        raise bad_parameters([Fault("tickers", f"each {error}")]) from None
    return lookup
