"""/v1/events"""

from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import context, filters
from ssmd_api.filters import EventFilter
from ssmd_api.paging import cut
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.replies import reply
from ssmd_common import tables


async def list_events(request: web.Request) -> web.Response:
    given = Parameters(request.query, datetime.now(UTC))
    wanted = filters.read(EventFilter, given)
    page = given.page(tables.EVENTS, "event_ticker")
    given.done()
    rows = await context.of(request).store.list_events(wanted, page)
    found, cursor = cut(rows, page, "event_ticker")
    document = {"events": found, "cursor": cursor}
    return reply(request, document, source="database", next_cursor=cursor)


async def show_event(request: web.Request) -> web.Response:
    """An event with its series and its markets."""
    now = datetime.now(UTC)
    Parameters(request.query, now).done()
    ticker = named(request, "event_ticker", "event")
    service = context.of(request)
    event = await service.store.event(ticker)
    if event is None:
        raise not_found("event", ticker)
    markets = [{**market, "event": event, "series": event["series"]} for market in event["markets"]]
    age = await service.freshness.age_seconds(markets, now)
    return reply(request, event, source="database", age_seconds=age)
