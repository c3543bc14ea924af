"""/ui/series: the breakdown by category and series; /ui/series/{ticker}: one with its events."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from aiohttp import web

from ssmd_api import context, feeschedule, filters, rows, shapes
from ssmd_api.counts import DAYS, Counted, Counts, OfDays, OfMarkets, OfSeries
from ssmd_api.filters import EventFilter, SeriesFilter
from ssmd_api.paging import Page
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.store import Store
from ssmd_api.ui import places, tally
from ssmd_api.ui.frame import Live, render
from ssmd_api.ui.tally import Tally
from ssmd_common import tables
from ssmd_common.status import MarketStatus

_PAGE: Final = 50
_MOST_PAGES: Final = 100_000
_COUNTED_SECONDS: Final = 60.0
"""To count takes longer than all else, and the page says when that was: ten readers who keep it
open are to cost less than a hundredth of a core."""
_EVENTS: Final = 50
_SHOWN: Final = tables.SERIES.only(
    "ticker", "title", "category", "volume", "frequency", "fee_type", "fee_multiplier"
)


def _of_status(status: str, one: Tally) -> int:
    return one.statuses[status]


_COLUMNS: Final[dict[str, Callable[[Tally], int | None]]] = {
    "markets": lambda one: one.markets,
    "events": lambda one: one.events,
    **{word: partial(_of_status, word) for word in MarketStatus},
    "closing": lambda one: one.closing[1],
    "volume": lambda one: one.volume,
    "new": lambda one: one.made,
}
"""What series are sorted by beside their tickers, which sort equals."""
SORTS: Final = ("ticker", *(f"{sign}{name}" for name in _COLUMNS for sign in ("-", "")))
_DEFAULT: Final = "-markets"
_WITHIN: Final = ("1h", "24h", "7d")
VOLUMES: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)


async def list_all(request: web.Request) -> web.Response:
    now = datetime.now(UTC)
    said = places.given(request.query)
    given = Parameters(said, now)
    category, sort = given.text("category"), given.choice("sort", SORTS, _DEFAULT)
    wanted = SeriesFilter(
        words=given.search("q"), tags=given.texts("tag"), active=given.flag("active")
    )
    status = given.choice("status", list(MarketStatus), "")
    closing = given.choice("closing", _WITHIN, "")
    volume = given.number("min_volume", 0) or 0
    given.recorded("min_volume", tables.SERIES["volume"])
    if sort.removeprefix("-") == "volume":
        given.recorded("sort", tables.SERIES["volume"])
    page = given.number("page", 1, _MOST_PAGES) or 1
    at = given.as_of()
    given.done()
    service = context.of(request)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(service.store.as_of(at))
        counts = service.counts if at is None else Counts(store, at)
        series = await counts.series.get(_COUNTED_SECONDS)
        markets = await counts.markets.get(_COUNTED_SECONDS)
        daily = await service.counts.days.get()
        found = _tallies(series, markets, daily, category, sort)
        if wanted.words or wanted.tags or wanted.active is not None:
            fitting = await _fitting(store, wanted)
            found = [one for one in found if one.name in fitting]
        if status or closing or volume:
            found = [
                one
                for one in found
                if (not status or one.statuses[status])
                and (not closing or one.closing[_WITHIN.index(closing)])
                and (one.volume or 0) >= volume
            ]
        shown = found[(page - 1) * _PAGE : page * _PAGE]
        details = await _details(store, [str(one.name) for one in shown], _days(daily), at or now)
    return render(
        request,
        "series_list.html",
        title="Series",
        here="series",
        as_of=at,
        has_past=True,
        live=Live(every_seconds=60),
        said=said,
        categories=_categories(series, markets),
        category=category,
        statuses=list(MarketStatus),
        within=_WITHIN,
        volumes=VOLUMES,
        shown=[(one, details.get(str(one.name), {})) for one in shown],
        found=len(found),
        sort=sort,
        next_sort={name: name if sort == f"-{name}" else f"-{name}" for name in _COLUMNS},
        number=page,
        size=_PAGE,
        more=len(found) > page * _PAGE,
        days=DAYS,
        counted_at=series.at,
        any_series=bool(series.counts),
        plain=set(said) <= {"sort", "page", "as_of"},
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
            EventFilter(series=[ticker], statuses=statuses),
            Page(page.sort, _EVENTS, page.cursor, page.filters),
            shapes.EVENTS,
        )
    if at is None:
        # To count those of a large series takes as long as the page.
        daily = _days(await service.counts.days.get())
    else:
        daily = await service.store.created_daily(DAYS, at, [ticker])
    made, days = daily.get(ticker, {}), _last_days(at or now)
    return render(
        request,
        "series.html",
        title=row["title"] or ticker,
        here="series",
        as_of=at,
        has_past=True,
        live=Live(stream=f"series={ticker}&table=events&fields=event_ticker", every_seconds=30),
        said=said,
        series=row,
        counts=counts,
        schedule=schedule,
        step=feeschedule.in_force(schedule, at or now),
        sort=page.sort,
        events=events.values(),
        next_cursor=events.cursor,
        days=days,
        values=[made.get(day, 0) for day in days],
    )


def _tallies(
    series: Counted[OfSeries],
    markets: Counted[OfMarkets],
    days: Counted[OfDays],
    category: str | None,
    sort: str,
) -> list[Tally]:
    """Each series in an order, made once for all that ask while the counts are the same."""

    def make() -> dict[str, Any]:
        found = tally.by_series(series.counts, markets.counts, days.counts, category)
        return {"series": sorted(found, key=_key(sort))}

    found: list[Tally] = series.document(("tallies", category, sort, markets.at, days.at), make)[
        "series"
    ]
    return found


def _key(sort: str) -> Callable[[Tally], Any]:
    """As lists have it: what has no value comes last either way."""
    if sort == "ticker":
        return lambda one: one.name
    of, sign = _COLUMNS[sort.removeprefix("-")], -1 if sort.startswith("-") else 1

    def key(one: Tally) -> tuple[bool, int, str | None]:
        value = of(one)
        return value is None, sign * (value or 0), one.name

    return key


def _categories(series: Counted[OfSeries], markets: Counted[OfMarkets]) -> list[Tally]:
    def make() -> dict[str, Any]:
        return {"categories": tally.by_category(series.counts, markets.counts)}

    found: list[Tally] = series.document(("categories", markets.at), make)["categories"]
    return found


def _days(counted: Counted[OfDays]) -> Mapping[str, Mapping[str, int]]:
    """By series."""

    def make() -> dict[str, Any]:
        return {"days": {each.series: each.days for each in counted.counts}}

    found: Mapping[str, Mapping[str, int]] = counted.document("days", make)["days"]
    return found


async def _fitting(store: Store, wanted: SeriesFilter) -> set[str]:
    """The tickers of the series that the API's filters let through."""
    shape = shapes.SERIES.selected(["ticker"], [])
    async with aclosing(store.export(wanted, shape)) as pages:
        return {rows.decode(row, rows.ROW_DEPTH)["ticker"] async for page in pages for row in page}


async def _details(
    store: Store, tickers: list[str], daily: Mapping[str, Mapping[str, int]], at: datetime
) -> dict[str, dict[str, Any]]:
    """What a page shows of each beside its counts."""
    series = await store.series_of(tickers, _SHOWN)
    schedules = await store.fee_schedules(tickers)
    found, days = {}, _last_days(at)
    for ticker, row in series.items():
        step = feeschedule.in_force(feeschedule.complete(schedules.get(ticker, []), row), at)
        made = daily.get(ticker, {})
        found[ticker] = {**row, "fee": step, "created": [made.get(day, 0) for day in days]}
    return found


def _last_days(at: datetime) -> list[str]:
    """The days that are counted, the first one first."""
    last = at.astimezone(UTC).date()
    return [(last - timedelta(days=n)).isoformat() for n in reversed(range(DAYS))]
