"""/ui/events/{event_ticker}: an event's markets side by side."""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from multidict import MultiDict

from ssmd_api import context, shapes
from ssmd_api.parameters import LARGEST, Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.ui import ladder, places
from ssmd_api.ui.changed import shown_versions
from ssmd_api.ui.frame import Live, render
from ssmd_common import tables

_VERSIONS: Final = 20


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
    series, markets = event["series"], ladder.in_order(event["markets"])
    aged = [{**market, "series": series} for market in markets]
    query = MultiDict(table="markets", event=ticker, fields="ticker")
    return render(
        request,
        "event.html",
        title=event["title"] or ticker,
        as_of=at,
        live=Live(stream=places.address("", query)[1:], every_seconds=60),
        event=event,
        series=series,
        rows=[(market, ladder.bar(market)) for market in markets],
        sum=ladder.summed(markets),
        has_strikes=any(
            market["floor_strike"] is not None or market["cap_strike"] is not None
            for market in markets
        ),
        rules=markets[0]["rules_primary"] if markets else None,
        opens=min((m["open_time"] for m in markets if m["open_time"]), default=None),
        closes=max((m["close_time"] for m in markets if m["close_time"]), default=None),
        versions=shown_versions(tables.EVENTS, found or []),
        fresh_as_of=await service.freshness.as_of(aged) if at is None else None,
    )
