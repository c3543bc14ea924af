"""/v1/series"""

from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import context, feeschedule, filters
from ssmd_api.filters import SeriesFilter
from ssmd_api.paging import cut
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.replies import reply
from ssmd_common import tables


async def list_series(request: web.Request) -> web.Response:
    given = Parameters(request.query, datetime.now(UTC))
    wanted = filters.read(SeriesFilter, given)
    page = given.page(tables.SERIES, "ticker")
    given.done()
    found, cursor = cut(await context.of(request).store.list_series(wanted, page), page, "ticker")
    document = {"series": found, "cursor": cursor}
    return reply(request, document, source="database", next_cursor=cursor)


async def show_series(request: web.Request) -> web.Response:
    """A series with the fee in force now and its events and markets counted by status."""
    now = datetime.now(UTC)
    Parameters(request.query, now).done()
    ticker = named(request, "ticker", "series")
    store = context.of(request).store
    row = await store.series(ticker)
    if row is None:
        raise not_found("series", ticker)
    schedule = feeschedule.complete(await store.fee_schedule(ticker), row)
    document = {
        **row,
        "fee": feeschedule.in_force(schedule, now),
        "counts": await store.series_counts(ticker),
    }
    return reply(request, document, source="database")
