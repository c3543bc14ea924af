"""/v1/stats"""

from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import context, counts
from ssmd_api.parameters import Parameters
from ssmd_api.replies import reply


async def series(request: web.Request) -> web.Response:
    """Series by category, and those with most markets, each with its counts."""
    given = Parameters(request.query, datetime.now(UTC))
    limit, ticker, category = given.limit(), given.text("series"), given.text("category")
    given.done()
    service = context.of(request)
    found, markets = await service.counts.series.get(), await service.counts.markets.get()
    document = found.document(
        (limit, ticker, category),
        lambda: counts.series(
            (
                each
                for each in found.counts
                if ticker in (None, each.series) and category in (None, each.category)
            ),
            markets.counts,
            limit,
        ),
    )
    return reply(request, document, source="database", age_seconds=_age(found.at))


async def markets(request: web.Request) -> web.Response:
    """Markets by status, category and series (the `limit` largest), and those that close soon."""
    given = Parameters(request.query, datetime.now(UTC))
    limit, ticker, category = given.limit(), given.text("series"), given.text("category")
    given.done()
    found = await context.of(request).counts.markets.get()
    document = found.document(
        (limit, ticker, category),
        lambda: counts.markets(
            (
                each
                for each in found.counts
                if ticker in (None, each.series) and category in (None, each.category)
            ),
            limit,
        ),
    )
    return reply(request, document, source="database", age_seconds=_age(found.at))


async def sync(request: web.Request) -> web.Response:
    """Each job's last run and last success, the `limit` latest runs, the resume points."""
    given = Parameters(request.query, datetime.now(UTC))
    limit = given.limit()
    given.done()
    return reply(request, await context.of(request).store.stats_sync(limit), source="database")


def _age(at: datetime) -> int:
    return max(0, int((datetime.now(UTC) - at).total_seconds()))
