"""/ui: what the system holds, how it is, and what just happened."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from aiohttp import web

from ssmd_api import context, counts, rows, shapes
from ssmd_api.context import Context
from ssmd_api.filters import MarketFilter
from ssmd_api.paging import Page
from ssmd_api.parameters import Parameters
from ssmd_api.rows import Row
from ssmd_api.ui import advice
from ssmd_api.ui.frame import KEYS, Live, render
from ssmd_api.ui.places import given
from ssmd_common.currency import document
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
    status, (steps, closing, jobs), markets = await asyncio.gather(
        _status(service), _reads(service, now), service.counts.markets.get()
    )
    return render(
        request,
        "now.html",
        title="Now",
        here="now",
        live=_LIVE,
        status_document=status,
        troubles=list(advice.troubles(status, redis=service.cached.up)),
        counts=markets.document("now", lambda: counts.markets(markets.counts, 0)),
        counted_at=markets.at,
        categories=_CATEGORIES,
        steps=steps,
        closing=closing,
        jobs=_jobs(jobs, status),
    )


async def _status(service: Context) -> dict[str, Any]:
    try:
        return document(await service.store.status())
    except psycopg.errors.UndefinedTable:
        # The rest is shown all the same.
        return {
            "services": {},
            "sentence": "the table service_status is missing: run `ssmd db migrate`",
            "incomplete_why": None,
            "ready": False,
            "legs": {},
        }


async def _reads(service: Context, now: datetime) -> tuple[list[Row], list[Row], Row]:
    """One after the other: a page takes one connection, whoever else waits for one."""
    steps = await service.store.latest_steps(STEPS, _LATEST)
    wanted = MarketFilter(
        statuses=list(NOT_YET_CLOSED), closing_after=now, closing_before=now + _HOUR
    )
    closing = await service.store.list_markets(
        wanted, Page("close_time", _CLOSING), _CLOSING_SHAPE, ()
    )
    jobs = await service.store.stats_sync(1)
    return steps, rows.decode(b"[%b]" % closing.rows, rows.ROW_DEPTH), jobs


def _jobs(runs: Row, status: Mapping[str, Any]) -> list[Row]:
    """Each job's last run, with how often it is to run."""
    every = {}
    if sync := status["services"].get("sync"):
        jobs = (sync["position"] or {}).get("jobs") or {}
        every = {name: job.get("every_seconds") for name, job in jobs.items()}
    return [
        {"name": name, "every_seconds": every.get(name), **job}
        for name, job in sorted(runs["jobs"].items())
    ]
