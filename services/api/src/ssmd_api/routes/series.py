"""/v1/series"""

from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import asof, context, feeschedule, lists, replies, shapes
from ssmd_api.asked import of_list
from ssmd_api.document import Answer
from ssmd_api.filters import SeriesFilter
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.replies import reply
from ssmd_api.shapes import Shape
from ssmd_common import tables


async def list_series(request: web.Request) -> web.Response:
    return await replies.recent(request, _page, formed=True)


async def _page(request: web.Request) -> Answer:
    asked = of_list(request, SeriesFilter, tables.SERIES, "ticker", shapes.SERIES)
    form = replies.formed(request, asked)
    async with context.of(request).store.as_of(asked.at) as store:
        found = await store.listed(asked.listing(lists.series))
    headers = asof.headers(asked.at, asked.shape)
    return await replies.page(request, "series", found, form, headers=headers)


async def show_series(request: web.Request) -> web.Response:
    """A series with the fee in force then and its events and markets counted by status."""
    now = datetime.now(UTC)
    given = Parameters(request.query, now)
    shape, at = given.shape(shapes.ONE_SERIES), given.as_of()
    given.done()
    ticker = named(request, "ticker", "series")
    async with context.of(request).store.as_of(at) as store:
        # What is in force follows from the row where there is no schedule.
        table = tables.SERIES if "fee" in shape.members else shape.table
        if fees := shape.members.get("fees"):
            row = await store.series_including(ticker, Shape(table, {"fees": fees}))
        else:
            row = await store.series(ticker, table)
        if row is None:
            raise not_found("series", ticker)
        if "fee" in shape.members:
            schedule = feeschedule.complete(await store.fee_schedule(ticker), row)
            row["fee"] = feeschedule.in_force(schedule, at or now)
        if "counts" in shape.members:
            row["counts"] = await store.series_counts(ticker)
    return reply(request, shape.pick(row), source="database", headers=asof.headers(at, shape))
