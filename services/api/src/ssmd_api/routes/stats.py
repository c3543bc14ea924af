"""/v1/stats"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

from aiohttp import web

from ssmd_api import asof, context, counts
from ssmd_api.counts import Counts, OfMarkets, OfSeries
from ssmd_api.parameters import Parameters
from ssmd_api.replies import reply
from ssmd_api.rows import Row

C = TypeVar("C", OfMarkets, OfSeries)


class _Asked(NamedTuple):
    """What is counted: all, or those of a series, of a category."""

    limit: int
    series: str | None
    category: str | None

    def of(self, counts: Iterable[C]) -> Iterator[C]:
        return (
            each
            for each in counts
            if self.series in (None, each.series) and self.category in (None, each.category)
        )


async def series(request: web.Request) -> web.Response:
    """Series by category, and those with most markets, each with its counts."""
    asked, at = _asked(request)
    async with _counts(request, at) as known:
        found, markets = await known.series.get(), await known.markets.get()
    document = found.document(
        asked, lambda: counts.series(asked.of(found.counts), markets.counts, asked.limit)
    )
    return _reply(request, document, found.at, at)


async def markets(request: web.Request) -> web.Response:
    """Markets by status, category and series (the `limit` largest), and those that close soon."""
    asked, at = _asked(request)
    async with _counts(request, at) as known:
        found = await known.markets.get()
    document = found.document(asked, lambda: counts.markets(asked.of(found.counts), asked.limit))
    return _reply(request, document, found.at, at)


async def sync(request: web.Request) -> web.Response:
    """Each job's last run and last success, the `limit` latest runs, the resume points."""
    given = Parameters(request.query, datetime.now(UTC))
    limit = given.limit()
    given.no_as_of("makes no sense of runs, which have times of their own")
    given.done()
    return reply(request, await context.of(request).store.stats_sync(limit), source="database")


def _asked(request: web.Request) -> tuple[_Asked, datetime | None]:
    """The same with the moment that it is asked of."""
    given = Parameters(request.query, datetime.now(UTC))
    asked = _Asked(given.limit(), given.text("series"), given.text("category"))
    at = given.as_of()
    given.done()
    return asked, at


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
