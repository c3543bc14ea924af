"""/v1/events"""

from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import context, filters, replies, shapes
from ssmd_api.filters import EventFilter
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.replies import reply
from ssmd_common import tables


async def list_events(request: web.Request) -> web.Response:
    given = Parameters(request.query, datetime.now(UTC))
    wanted = filters.read(EventFilter, given)
    page, shape = given.page(tables.EVENTS, "event_ticker"), given.shape(shapes.EVENTS)
    given.done()
    found = await context.of(request).store.list_events(wanted, page, shape)
    return replies.page(request, "events", found)


async def show_event(request: web.Request) -> web.Response:
    """An event with its series and its markets."""
    now = datetime.now(UTC)
    given = Parameters(request.query, now)
    shape = given.shape(shapes.ONE_EVENT)
    given.done()
    ticker = named(request, "event_ticker", "event")
    service = context.of(request)
    event = await service.store.event(ticker, shape)
    if event is None:
        raise not_found("event", ticker)
    markets = [{**market, "series": event["series"]} for market in event.get("markets", ())]
    age = await service.freshness.age_seconds(markets, now)
    return reply(request, shape.pick(event), source="database", age_seconds=age)
