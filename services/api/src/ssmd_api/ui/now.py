"""/ui: what the system holds, how it is, and what just happened."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

from ssmd_api import context, counts, lookback, shapes
from ssmd_api.changefilter import ChangeFilter
from ssmd_api.context import Context
from ssmd_api.filters import MarketFilter
from ssmd_api.paging import Page
from ssmd_api.parameters import Parameters
from ssmd_api.rows import Row
from ssmd_api.ui import advice, jobs, status
from ssmd_api.ui.changes import line_of
from ssmd_api.ui.frame import KEYS, Live, render
from ssmd_api.ui.places import given
from ssmd_common.status import NOT_YET_CLOSED

STEPS: Final = (
    "created",
    "opened",
    "activated",
    "deactivated",
    "closed",
    "determined",
    "settled",
)
"""What is told of markets' lives here."""

_CLOSING: Final = 12
_LATEST: Final = 14
_HOUR: Final = timedelta(hours=1)
_CATEGORIES: Final = 20
_COUNTED_SECONDS: Final = 15.0
"""To count takes longer than all else, and the page says when that was."""
_GAPS: Final = 5
_CHANGED: Final = 8
_CHANGES: Final = ("market_updated", "event_updated", "series_updated", "fee_changed")
"""Beside steps of lives, which stand above them."""
_CLOSING_SHAPE: Final = shapes.MARKETS.selected(
    [
        "ticker",
        "title",
        "yes_sub_title",
        "close_time",
        "yes_bid_dollars",
        "yes_ask_dollars",
        "volume_24h_fp",
    ],
    [],
)
_LIVE: Final = Live(
    stream=f"fields={KEYS}",
    soon="lifecycle_recorded series_added",
    soonest_seconds=3,
    every_seconds=15,
)


async def show(request: web.Request) -> web.Response:
    now = datetime.now(UTC)
    Parameters(given(request.query), now).done()
    service = context.of(request)
    document, (steps, closing, runs, gaps), markets = await asyncio.gather(
        status.read(service), _reads(service, now), service.counts.categories.get(_COUNTED_SECONDS)
    )
    changed = lookback.remembered(service.feed, ChangeFilter(types=_CHANGES), _CHANGED)
    return render(
        request,
        "now.html",
        title="Now",
        here="now",
        live=_LIVE,
        status_document=document,
        troubles=list(advice.troubles(document, redis=service.cached.up)),
        counts=markets.document("now", lambda: counts.markets(markets.counts, 0)),
        counted_at=markets.at,
        categories=_CATEGORIES,
        steps=steps,
        closing=closing,
        jobs=jobs.last_runs(runs, document),
        gaps=[(gap, advice.of_gap(gap)) for gap in gaps],
        epochs=advice.epochs(document),
        changes=[line_of(event) for event in changed],
    )


async def _reads(service: Context, now: datetime) -> tuple[list[Row], list[Row], Row, list[Row]]:
    """One after the other: a page takes one connection, whoever else waits for one."""
    steps = await service.store.latest_steps(STEPS, _LATEST)
    wanted = MarketFilter(
        statuses=list(NOT_YET_CLOSED), closing_after=now, closing_before=now + _HOUR
    )
    closing = await service.store.list_markets(
        wanted, Page("close_time", _CLOSING), _CLOSING_SHAPE, ()
    )
    runs = await service.store.stats_sync(1)
    gaps = await service.store.gaps(_GAPS)
    return steps, closing.values(), runs, gaps
