"""/ui/markets: the list of markets, with the filters of the API's; and as a file."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Final

from aiohttp import web
from multidict import MultiDict

from ssmd_api import asof, context, filters, rows, shapes
from ssmd_api.counts import OfSeries
from ssmd_api.filters import MarketFilter
from ssmd_api.parameters import Parameters
from ssmd_api.routes.markets import asked_list, listed
from ssmd_api.rows import Row
from ssmd_api.ui import frame, places, spreadsheet
from ssmd_api.ui.cells import table_rows
from ssmd_api.ui.columns import DEFAULT, NEEDED, Shown, choices, shown
from ssmd_api.ui.frame import Live, render, unit
from ssmd_common.status import MarketStatus

WITHIN: Final = ("15m", "1h", "6h", "24h", "7d", "30d")
LIMITS: Final = ("50", "100", "250", "1000")
_VOLUMES: Final = (100, 1_000, 10_000, 100_000, 1_000_000)
_LONGEST_SECONDS: Final = 900.0
_CATEGORIES_SECONDS: Final = 60.0
"""How old the choice of categories may be: to count series takes longer than a page."""


async def show(request: web.Request) -> web.Response:
    now = datetime.now(UTC)
    said = places.given(request.query)
    columns = _columns(said)
    asked = asked_list(_for_the_api(said, columns), now)
    service = context.of(request)
    (found, as_of), series = await asyncio.gather(
        listed(service, asked), service.counts.series.get(_CATEGORIES_SECONDS)
    )
    sort, to = asked.page.sort, partial(places.of, as_of=frame.moment(asked.at))
    markets = found.values()
    return render(
        request,
        "markets.html",
        title="Markets",
        here="markets",
        as_of=asked.at,
        has_past=True,
        live=_live(asked.wanted),
        said=said,
        count=len(markets),
        rows=table_rows(markets, columns, unit(request), to, past=asked.at is not None),
        fresh_as_of=as_of,
        columns=columns,
        choices=choices({column.name for column in columns}),
        sort=sort,
        next_sort=_next_sort(sort),
        next_cursor=found.cursor,
        limit=asked.page.limit,
        statuses=list(MarketStatus),
        categories=series.document("categories", lambda: _categories(series.counts))["categories"],
        within=WITHIN,
        volumes=_VOLUMES,
        limits=LIMITS,
        file=places.changed("/ui/markets.csv", said, cursor=None, limit=None),
        plain=set(said) <= {"sort", "fields", "limit"},
    )


async def save(request: web.Request) -> web.StreamResponse:
    """Every market that the filters let through, in the order and with the columns shown, for
    spreadsheets."""
    said = places.given(request.query)
    columns = _columns(said)
    given = Parameters(_for_the_api(said, columns), datetime.now(UTC))
    wanted = filters.read(MarketFilter, given)
    sort = given.page(shapes.MARKETS.table, "ticker").sort
    shape, at = given.shape(shapes.MARKETS), given.as_of()
    given.done()
    service = context.of(request)
    with service.exports.place():
        async with (
            asyncio.timeout(_LONGEST_SECONDS),
            service.store.as_of(at) as store,
            aclosing(store.export(wanted, shape, sort)) as pages,
        ):
            response = web.StreamResponse(
                headers={
                    "Content-Disposition": 'attachment; filename="markets.csv"',
                    "Cache-Control": "no-store",
                    **asof.headers(at, shape),
                }
            )
            response.content_type, response.charset = "text/csv", "utf-8"
            names, values = zip(*((column.name, column.of) for column in columns), strict=True)
            async for page in pages:
                if not response.prepared:
                    # Not before there is a row: until then a problem can still be told.
                    await response.prepare(request)
                    await response.write(spreadsheet.line(names))
                read = (rows.decode(row, rows.ROW_DEPTH) for row in page)
                lines = (spreadsheet.line([of(row) for of in values]) for row in read)
                await response.write(b"".join(lines))
            if not response.prepared:
                await response.prepare(request)
                await response.write(spreadsheet.line(names))
            await response.write_eof()
    return response


def _columns(said: MultiDict[str]) -> list[Shown]:
    names = [name for value in said.getall("fields", []) for name in value.split(",")]
    return shown(list(dict.fromkeys(names))) or shown(DEFAULT)


def _categories(series: Iterable[OfSeries]) -> Row:
    return {"categories": sorted({each.category for each in series if each.category})}


def _for_the_api(said: MultiDict[str], columns: list[Shown]) -> MultiDict[str]:
    """What the page's fields ask of the API: `closing` is a time from now on."""
    query = said.copy()
    closing = query.pop("closing", None)
    if closing is not None:
        query.setdefault("closing_after", "0s")
        query["closing_before"] = closing
    names = [*NEEDED, *(column.name for column in columns), *said.getall("fields", [])]
    query.popall("fields", None)
    query.extend([("fields", ",".join(dict.fromkeys(",".join(names).split(","))))])
    return query


def _live(wanted: MarketFilter) -> Live:
    following = {"table": "markets", "fields": "ticker"}
    # A stream is of one, or of all.
    if len(wanted.series) == 1:
        following["series"] = wanted.series[0]
    if len(wanted.event) == 1:
        following["event"] = wanted.event[0]
    return Live(stream=places.address("", MultiDict(following))[1:], every_seconds=60)


def _next_sort(sort: str) -> dict[str, str]:
    """What each order turns into when it is asked for: the other way round, or else the way in
    which it mostly is wanted."""
    found = {}
    for name in shapes.MARKETS.table.sorts:
        ascends = name in ("ticker", "close_time")
        first = name if ascends else f"-{name}"
        found[name] = (f"-{name}" if ascends else name) if sort == first else first
    return found
