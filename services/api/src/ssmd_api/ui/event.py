"""/ui/events/{event_ticker}: an event's markets side by side."""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from multidict import MultiDict

from ssmd_api import context, shapes
from ssmd_api.parameters import LARGEST, Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.rows import nearest
from ssmd_api.ui import ladder, life, places
from ssmd_api.ui.changed import shown_versions
from ssmd_api.ui.frame import Live, render
from ssmd_common import tables

_VERSIONS: Final = 20
_STEPS: Final = 100


async def show(request: web.Request) -> web.Response:
    now = datetime.now(UTC)
    given = Parameters(places.given(request.query), now)
    at = given.as_of()
    given.done()
    ticker = named(request, "event_ticker", "event")
    service = context.of(request)
    async with service.store.as_of(at) as store:
        event = await store.event(ticker, shapes.ONE_EVENT)
    if event is None:
        raise not_found("event", ticker)
    found = await service.store.versions(tables.EVENTS, ticker, LARGEST, _VERSIONS)
    # Messages have times of their own: those of a moment are those until then.
    log = await service.store.event_steps(ticker, _STEPS)
    told = [step for step in life.steps_of_event(event, log) if nearest(step.at) <= (at or now)]
    series, markets = event["series"], ladder.in_order(event["markets"])
    aged = [{**market, "series": series} for market in markets]
    # Its markets, and itself.
    query = MultiDict(event=ticker, fields="ticker,event_ticker")
    return render(
        request,
        "event.html",
        title=event["title"] or ticker,
        as_of=at,
        has_past=True,
        live=Live(stream=places.address("", query)[1:], every_seconds=60),
        event=event,
        series=series,
        rows=[(market, ladder.bar(market), ladder.strike(market)) for market in markets],
        sum=ladder.summed(markets),
        has_strikes=any(
            market["floor_strike"] is not None or market["cap_strike"] is not None
            for market in markets
        ),
        rules=markets[0]["rules_primary"] if markets else None,
        opens=min((m["open_time"] for m in markets if m["open_time"]), default=None),
        closes=max((m["close_time"] for m in markets if m["close_time"]), default=None),
        told=told,
        versions=shown_versions(tables.EVENTS, found or []),
        fresh_as_of=await service.freshness.as_of(aged) if at is None else None,
    )
