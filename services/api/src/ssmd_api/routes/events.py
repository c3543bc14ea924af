"""/v1/events"""

from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import asof, context, lists, replies, shapes
from ssmd_api.asked import of_list
from ssmd_api.document import Answer
from ssmd_api.filters import EventFilter
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.replies import reply
from ssmd_common import tables


async def list_events(request: web.Request) -> web.Response:
    return await replies.recent(request, _page, formed=True)


async def _page(request: web.Request) -> Answer:
    asked = of_list(request, EventFilter, tables.EVENTS, "event_ticker", shapes.EVENTS)
    form = replies.formed(request, asked)
    service = context.of(request)
    has_age = asked.at is None and "markets" in asked.shape.members
    aged = await service.freshness.needs() if has_age else ()
    async with service.store.as_of(asked.at) as store:
        found = await store.listed(asked.listing(lists.events, aged))
    as_of = await service.freshness.as_of(found.ages) if has_age else None
    headers = asof.headers(asked.at, asked.shape)
    return await replies.page(request, "events", found, form, as_of, headers)


async def show_event(request: web.Request) -> web.Response:
    """An event with its series and its markets."""
    now = datetime.now(UTC)
    given = Parameters(request.query, now)
    shape, at = given.shape(shapes.ONE_EVENT), given.as_of()
    given.done()
    ticker = named(request, "event_ticker", "event")
    service = context.of(request)
    async with service.store.as_of(at) as store:
        event = await store.event(ticker, shape)
    if event is None:
        raise not_found("event", ticker)
    if at is not None:
        headers = asof.headers(at, shape)
        return reply(request, shape.pick(event), source="database", headers=headers)
    markets = [{**market, "series": event["series"]} for market in event.get("markets", ())]
    age = await service.freshness.age_seconds(markets, now)
    return reply(request, shape.pick(event), source="database", age_seconds=age)
