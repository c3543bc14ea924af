"""/v1/stats"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import asof, context, counts
from ssmd_api.counts import Counts
from ssmd_api.parameters import Parameters
from ssmd_api.replies import reply
from ssmd_api.rows import Row


async def series(request: web.Request) -> web.Response:
    """Series by category, and those with most markets, each with its counts."""
    given = Parameters(request.query, datetime.now(UTC))
    limit, ticker, category = given.limit(), given.text("series"), given.text("category")
    at = given.as_of()
    given.done()
    async with _counts(request, at) as known:
        found, markets = await known.series.get(), await known.markets.get()
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
    return _reply(request, document, found.at, at)


async def markets(request: web.Request) -> web.Response:
    """Markets by status, category and series (the `limit` largest), and those that close soon."""
    given = Parameters(request.query, datetime.now(UTC))
    limit, ticker, category = given.limit(), given.text("series"), given.text("category")
    at = given.as_of()
    given.done()
    async with _counts(request, at) as known:
        found = await known.markets.get()
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
    return _reply(request, document, found.at, at)


async def sync(request: web.Request) -> web.Response:
    """Each job's last run and last success, the `limit` latest runs, the resume points."""
    given = Parameters(request.query, datetime.now(UTC))
    limit = given.limit()
    given.no_as_of("makes no sense of runs, which have times of their own")
    given.done()
    return reply(request, await context.of(request).store.stats_sync(limit), source="database")


@asynccontextmanager
async def _counts(request: web.Request, at: datetime | None) -> AsyncIterator[Counts]:
    service = context.of(request)
    if at is None:
        yield service.counts
        return
    async with service.store.as_of(at) as store:
        yield Counts(store, at)


def _reply(
    request: web.Request, document: Row, counted_at: datetime, at: datetime | None
) -> web.Response:
    age = max(0, int((datetime.now(UTC) - counted_at).total_seconds()))
    return reply(
        request,
        document,
        source="database",
        age_seconds=age if at is None else None,
        headers=asof.headers(at),
    )
