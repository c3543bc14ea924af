"""/v1/stats"""

from collections import Counter, defaultdict
from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import context
from ssmd_api.parameters import Parameters
from ssmd_api.replies import reply
from ssmd_common.status import MarketStatus


async def series(request: web.Request) -> web.Response:
    """Series by category."""
    Parameters(request.query, datetime.now(UTC)).done()
    found = await context.of(request).store.stats_series()
    categories = [
        {"category": category, "series": total, "active": active, "games": games}
        for category, total, active, games in found
    ]
    document = {
        "series": sum(row["series"] for row in categories),
        "active": sum(row["active"] for row in categories),
        "games": sum(row["games"] for row in categories),
        "by_category": categories,
    }
    return reply(request, document, source="database")


async def markets(request: web.Request) -> web.Response:
    """Markets by status, category and series (the `limit` largest), and those that close soon."""
    now = datetime.now(UTC)
    given = Parameters(request.query, now)
    limit = given.limit()
    given.done()
    found, (hour, day, week) = await context.of(request).store.stats_markets(now)
    by_status: Counter[str] = Counter()
    by_category: dict[str | None, Counter[str]] = defaultdict(Counter)
    by_series: dict[str, Counter[str]] = defaultdict(Counter)
    for series_ticker, category, status, count in found:
        by_status[status] += count
        by_category[category][status] += count
        by_series[series_ticker][status] += count
    largest = sorted(by_series.items(), key=lambda item: (-item[1].total(), item[0]))
    document = {
        "markets": by_status.total(),
        "by_status": _each(by_status),
        "by_category": [
            {"category": category, "markets": counts.total(), "by_status": _each(counts)}
            for category, counts in sorted(
                by_category.items(), key=lambda item: (-item[1].total(), item[0] or "")
            )
        ],
        "by_series": [
            {"series_ticker": ticker, "markets": counts.total(), "by_status": _each(counts)}
            for ticker, counts in largest[:limit]
        ],
        "closing_within": {"1h": hour, "24h": day, "7d": week},
    }
    return reply(request, document, source="database")


async def sync(request: web.Request) -> web.Response:
    """Each job's last run and last success, the `limit` latest runs, the resume points."""
    given = Parameters(request.query, datetime.now(UTC))
    limit = given.limit()
    given.done()
    return reply(request, await context.of(request).store.stats_sync(limit), source="database")


def _each(counts: Counter[str]) -> dict[str, int]:
    return {status: counts[status] for status in MarketStatus}
