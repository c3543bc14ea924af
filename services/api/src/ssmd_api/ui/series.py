"""/ui/series: the breakdown by category and series; /ui/series/{ticker}: one with its events."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from ssmd_api import context, feeschedule, filters, rows, shapes
from ssmd_api.counts import DAYS, Counted, Counts, OfMarkets, OfSeries
from ssmd_api.filters import EventFilter, SeriesFilter
from ssmd_api.paging import Page
from ssmd_api.parameters import MAX_LIMIT, Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.store import Store
from ssmd_api.ui import places, tally
from ssmd_api.ui.frame import Live, render
from ssmd_api.ui.tally import Tally
from ssmd_common import tables

_PAGE: Final = 50
_MOST_PAGES: Final = 100_000
_DAYS_OF_ONE: Final = 90
_EVENTS: Final = 50
_SHOWN: Final = tables.SERIES.only(
    "ticker", "title", "category", "volume", "frequency", "fee_type", "fee_multiplier"
)
_ORDERS: Final[dict[str, Callable[[Tally], Any]]] = {
    "markets": lambda one: (-one.markets, one.name),
    "active": lambda one: (-one.statuses["active"], one.name),
    "closing": lambda one: (-one.closing[1], one.name),
    "events": lambda one: (-one.events, one.name),
    "ticker": lambda one: one.name,
}


async def list_all(request: web.Request) -> web.Response:
    now = datetime.now(UTC)
    said = places.given(request.query)
    given = Parameters(said, now)
    category, words = given.text("category"), given.search("q")
    sort = given.choice("sort", list(_ORDERS), "markets")
    page = given.number("page", 1, _MOST_PAGES) or 1
    at = given.as_of()
    given.done()
    service = context.of(request)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(service.store.as_of(at))
        counts = service.counts if at is None else Counts(store, at)
        series, markets = await counts.series.get(), await counts.markets.get()
        found = _tallies(series, markets, category, sort)
        if words:
            fitting = await _fitting(store, words)
            found = [one for one in found if one.name in fitting]
        shown = found[(page - 1) * _PAGE : page * _PAGE]
        daily = await service.counts.days.get()
        days = {each.series: each.days for each in daily.counts}
        details = await _details(store, [str(one.name) for one in shown], days, at or now)
    return render(
        request,
        "series_list.html",
        title="Series",
        here="series",
        as_of=at,
        live=Live(every_seconds=30),
        said=said,
        categories=_categories(series, markets),
        category=category,
        shown=[(one, details.get(str(one.name), {})) for one in shown],
        found=len(found),
        sort=sort,
        number=page,
        size=_PAGE,
        more=len(found) > page * _PAGE,
        days=DAYS,
        counted_at=series.at,
        any_series=bool(series.counts),
    )


async def show(request: web.Request) -> web.Response:
    now = datetime.now(UTC)
    said = places.given(request.query)
    given = Parameters(said, now)
    page = given.page(tables.EVENTS, "-strike_date")
    statuses = filters.read(EventFilter, given).statuses
    at = given.as_of()
    given.done()
    ticker = named(request, "ticker", "series")
    service = context.of(request)
    async with service.store.as_of(at) as store:
        row = await store.series(ticker, tables.SERIES)
        if row is None:
            raise not_found("series", ticker)
        schedule = feeschedule.complete(await store.fee_schedule(ticker), row)
        counts = await store.series_counts(ticker)
        events = await store.list_events(
            EventFilter(series=ticker, statuses=statuses),
            Page(page.sort, _EVENTS, page.cursor, page.filters),
            shapes.EVENTS,
        )
    daily = await service.store.created_daily(_DAYS_OF_ONE, at or now, [ticker])
    days, values = _filled(daily.get(ticker, {}), _DAYS_OF_ONE, at or now)
    return render(
        request,
        "series.html",
        title=row["title"] or ticker,
        here="series",
        as_of=at,
        live=Live(stream=f"series={ticker}&table=events&fields=event_ticker", every_seconds=30),
        said=said,
        series=row,
        counts=counts,
        schedule=schedule,
        step=feeschedule.in_force(schedule, at or now),
        events=rows.decode(b"[%b]" % events.rows, rows.ROW_DEPTH),
        next_cursor=events.cursor,
        days=days,
        values=values,
    )


def _tallies(
    series: Counted[OfSeries], markets: Counted[OfMarkets], category: str | None, sort: str
) -> list[Tally]:
    """Each series in an order, made once for all that ask while the counts are the same."""

    def make() -> dict[str, Any]:
        found = tally.by_series(series.counts, markets.counts, category)
        return {"series": sorted(found, key=_ORDERS[sort])}

    found: list[Tally] = series.document(("tallies", category, sort, markets.at), make)["series"]
    return found


def _categories(series: Counted[OfSeries], markets: Counted[OfMarkets]) -> list[Tally]:
    def make() -> dict[str, Any]:
        return {"categories": tally.by_category(series.counts, markets.counts)}

    found: list[Tally] = series.document(("categories", markets.at), make)["categories"]
    return found


async def _fitting(store: Store, words: list[str]) -> set[str]:
    """The series that a search lets through, as many as a page of the API has."""
    shape = shapes.SERIES.selected(["ticker"], [])
    found = await store.list_series(SeriesFilter(words=words), Page("ticker", MAX_LIMIT), shape)
    return {row["ticker"] for row in rows.decode(b"[%b]" % found.rows, rows.ROW_DEPTH)}


async def _details(
    store: Store, tickers: list[str], daily: Mapping[str, Mapping[str, int]], at: datetime
) -> dict[str, dict[str, Any]]:
    """What a page shows of each beside its counts."""
    series = await store.series_of(tickers, _SHOWN)
    schedules = await store.fee_schedules(tickers)
    found = {}
    for ticker, row in series.items():
        step = feeschedule.in_force(feeschedule.complete(schedules.get(ticker, []), row), at)
        _, values = _filled(daily.get(ticker, {}), DAYS, at)
        found[ticker] = {**row, "fee": step, "created": values}
    return found


def _filled(counted: Mapping[str, int], days: int, at: datetime) -> tuple[list[str], list[int]]:
    """Each of the last days with its count, the first day first."""
    last = at.astimezone(UTC).date()
    names = [(last - timedelta(days=n)).isoformat() for n in reversed(range(days))]
    return names, [counted.get(name, 0) for name in names]
