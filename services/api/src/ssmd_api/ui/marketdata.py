"""Trades, quote and book of a market's page: a part that is read anew as they are captured.

They come from what connector keeps on NATS, by the functions of /v1/markets/{ticker}/trades and so
on. NATS may be away: the rest of the page does not wait for it.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from ssmd_api import context
from ssmd_api.marketdata import Captured, Market
from ssmd_api.marketnews import follow
from ssmd_api.middleware import parsed_key
from ssmd_api.parameters import Parameters
from ssmd_api.problems import NOT_CAPTURED, Problem
from ssmd_api.routes.marketdata import named_market
from ssmd_api.ui import places
from ssmd_api.ui.depth import Depth, depth
from ssmd_api.ui.frame import HEADERS, PAGES, unit
from ssmd_common import tasks
from ssmd_common.errors import UpstreamUnavailable

_TRADES: Final = 15
_PATIENCE_SECONDS: Final = 0.7
_SOONEST_SECONDS: Final = 0.25
_KEEP_ALIVE_SECONDS: Final = 15.0
_AWAY: Final = "NATS does not answer: what was captured cannot be read now."
_LATE: Final = "NATS has not answered yet."
_NO_TRADE: Final = "No trade of it is in the stream."
_NO_QUOTE: Final = "No quote of it is in the stream."
_NO_BOOK: Final = (
    "No book of it is in the streams: the connector's scope (CONNECTOR_SCOPE_FILE) does not have "
    "this market, or no snapshot of it has come yet."
)
_CAME: Final = b"event: captured\ndata: {}\n\n"

_reading: Final[set[asyncio.Task["Seen"]]] = set()


@dataclass(frozen=True, slots=True)
class Part:
    """What was found, or a sentence that says why there is nothing, of a stream that begins at
    `since`. `warning` says why what there is may not be the latest."""

    found: Any = None
    sentence: str | None = None
    warning: str | None = None
    since: str | None = None
    is_captured: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """`is_captured`: whether there is a stream that can be followed."""

    quote: Part
    trades: Part
    book: Part
    depth: Depth | None = None
    is_captured: bool = True


def begin(request: web.Request, market: Market) -> "asyncio.Task[Seen]":
    """Have it read while the rest of a page is."""
    task = asyncio.create_task(_seen(request, market), name="market data of a page")
    # Whoever gives up leaves it to its end: else NATS would never be connected to.
    _reading.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: "asyncio.Task[Seen]") -> None:
    _reading.discard(task)
    if not task.cancelled():
        task.exception()  # Whoever began it may be gone.


async def seen(request: web.Request, begun: "asyncio.Task[Seen]") -> Seen:
    """What was found, for a page that does not wait long."""
    done, _ = await asyncio.wait({begun}, timeout=_PATIENCE_SECONDS)
    if done:
        return begun.result()
    late = Part(sentence=_LATE if request.app[PAGES].nats_answered else _AWAY)
    return Seen(late, late, late)


async def show(request: web.Request) -> web.Response:
    """The part alone, for a page that is open."""
    Parameters(places.given(request.query), datetime.now(UTC)).done()
    market = await named_market(request)
    values = {
        "data": await _seen(request, market),
        "ticker": market.ticker,
        "unit": unit(request),
    }
    body = request.app[PAGES].text("captured.html", values)
    response = web.Response(text=body, content_type="text/html", charset="utf-8", headers=HEADERS)
    response.enable_compression()
    return response


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events: one whenever something of the market is captured, a few a second at
    most."""
    Parameters(places.given(request.query), datetime.now(UTC)).done()
    market = await named_market(request)
    service = context.of(request)
    with service.streams.place():
        sources = await service.market_data.sources(market)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        response.force_close()
        await response.prepare(request)
        came = asyncio.Event()
        following = asyncio.create_task(follow(sources, came), name="a market's data")
        try:
            with service.keywatch.over(parsed_key(request), following.cancel):
                await _tell(request, response, came, following)
        finally:
            await tasks.end(following)
    return response


async def _tell(
    request: web.Request,
    response: web.StreamResponse,
    came: asyncio.Event,
    following: "asyncio.Task[None]",
) -> None:
    """Until what is followed breaks off: the page comes again."""
    stopping = context.of(request).stopping
    while not (stopping.is_set() or following.done() or request.transport is None):
        waits = asyncio.create_task(came.wait())
        with suppress(TimeoutError):
            async with asyncio.timeout(_KEEP_ALIVE_SECONDS):
                await asyncio.wait({waits, following}, return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        is_new = came.is_set()
        came.clear()
        await response.write(_CAME if is_new else b": \n\n")
        await asyncio.sleep(_SOONEST_SECONDS)


async def _seen(request: web.Request, market: Market) -> Seen:
    pages, service = request.app[PAGES], context.of(request)
    data = service.market_data
    try:
        # Once for the three: each would wait as long.
        await service.feed.client()
        trades, quote, book = await asyncio.gather(
            _part(_first(data.trades(market, _TRADES, None)), _NO_TRADE),
            _part(data.quote(market), _NO_QUOTE),
            _part(data.book(market), _NO_BOOK),
        )
    except UpstreamUnavailable:
        pages.nats_answered = False
        away = Part(sentence=_AWAY)
        return Seen(away, away, away)
    pages.nats_answered = True
    ladder = depth(book.found) if book.found else None
    return Seen(quote, trades, book, ladder, is_captured=trades.is_captured)


async def _first(reading: Awaitable[tuple[Captured, int | None]]) -> Captured:
    return (await reading)[0]


async def _part(reading: Awaitable[Captured], nothing: str) -> Part:
    try:
        captured = await reading
    except Problem as problem:
        if problem.kind != NOT_CAPTURED:
            raise
        return Part(sentence=_sentence(problem.detail), is_captured=False)
    note = captured.capture["note"]
    if captured.found:
        return Part(captured.found, warning=note and _sentence(note))
    if note and captured.capture["since"] is None:
        return Part(sentence=_sentence(note))
    return Part(sentence=nothing, since=captured.capture["since"])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
