"""/v1/changes: the change stream as server-sent events."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Final, cast

from aiohttp import HttpVersion11, web

from ssmd_api import context, shapes
from ssmd_api.changefilter import TABLES, ChangeFilter, NothingFits
from ssmd_api.feed import Gone
from ssmd_api.filters import multivariate
from ssmd_api.follower import Ended, Follower, cut_off
from ssmd_api.middleware import parsed_key
from ssmd_api.parameters import Parameters
from ssmd_api.problems import Problem
from ssmd_api.serversent import GONE, EventId, beginning, keep_alive
from ssmd_api.sparse import Columns
from ssmd_common.tables import PUBLISHED

_KEEP_ALIVE_SECONDS: Final = 15.0
_SLOWEST_WRITE_SECONDS: Final = 30.0
_END_SECONDS: Final = 1.0
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


async def changes(request: web.Request) -> web.StreamResponse:
    """Changes as they are committed: after `Last-Event-ID`, or `after` a sequence, or new ones."""
    given = Parameters(request.query, datetime.now(UTC))
    tables = given.choices("table", TABLES)
    columns = Columns(frozenset(given.names("fields")), frozenset(given.names("exclude")))
    whole = {name: PUBLISHED[name] for name in tables or TABLES}
    shown = given.chosen(whole, partial(shapes.of_tables, whole))
    wanted = ChangeFilter(
        tables=tuple(sorted(set(shown if columns else tables))),
        columns=columns,
        series=given.text("series"),
        event=given.text("event"),
        market=given.text("market"),
        multivariate=multivariate(given),
        types=tuple(sorted(set(given.texts("type")))),
    )
    if not shown:
        given.fault("fields", "no table has one of them")
    last: EventId | int | None = given.number("after", 0)
    if "Last-Event-ID" in request.headers:
        try:
            last = EventId.parse(request.headers["Last-Event-ID"])
        except ValueError as error:
            given.fault("Last-Event-ID", str(error))
    try:
        wanted.subjects()
    except NothingFits as error:
        given.fault("table", str(error))
    given.no_as_of(
        "makes no sense of changes: they come as they are committed, after a sequence (after=);"
        " what one row was is in its history"
    )
    given.done()
    with context.of(request).streams.place():
        return await _stream(request, wanted, last)


async def _stream(
    request: web.Request, wanted: ChangeFilter, last: EventId | int | None
) -> web.StreamResponse:
    service = context.of(request)
    try:
        start = await service.feed.start_after(last)
    except Gone:
        raise Problem(
            410,
            "stream-gone",
            "The stream does not hold what comes next",
            "take a new snapshot (/v1/snapshot) and go on after its sequence",
        ) from None
    response = web.StreamResponse(headers=_HEADERS)
    response.force_close()
    await response.prepare(request)
    if request.method == "HEAD" or request.transport is None:
        return response
    transport = cast(asyncio.WriteTransport, request.transport)
    follower = Follower(transport, chunked=request.version >= HttpVersion11)

    def end(why: Ended = Ended.KEY) -> None:
        follower.end(why)
        # Where it takes nothing: what it is not sent it gets when it comes again.
        asyncio.get_running_loop().call_later(_END_SECONDS, transport.abort)

    try:
        with service.keywatch.over(parsed_key(request), end):
            await _follow(request, response, follower, wanted, start)
    finally:
        end(Ended.BROKEN)
    if follower.ended.done() and follower.ended.result() is Ended.SLOW:
        cut_off(follower)
    return response


async def _follow(
    request: web.Request,
    response: web.StreamResponse,
    follower: Follower,
    wanted: ChangeFilter,
    start: int,
) -> None:
    """Write what is missing, and have the hub write what comes, until it is over."""
    service = context.of(request)
    hub = service.feed.hub
    ring = hub.ring
    await _write(response, beginning(ring.last_id if start == ring.next_sequence else None))
    told_at = asyncio.get_running_loop().time()
    try:
        async with aclosing(service.feed.catch_up(wanted, start)) as missing:
            async for reached, events in missing:
                start = reached
                if service.stopping.is_set() or follower.ended.done() or request.transport is None:
                    return
                now = asyncio.get_running_loop().time()
                if not events and now - told_at > _KEEP_ALIVE_SECONDS:
                    events = keep_alive(None)
                if events:
                    await _write(response, events)
                    told_at = now
        if not ring.holds(start):
            return
        hub.join(follower, wanted, start)
        try:
            why = await follower.ended
        finally:
            hub.leave(follower)
    except Gone:
        why = Ended.GONE
    except TimeoutError:
        follower.end(Ended.SLOW)
        return
    if why is Ended.GONE:
        await _write(response, GONE)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """A reader that takes nothing for long is cut off."""
    async with asyncio.timeout(_SLOWEST_WRITE_SECONDS):
        await response.write(data)
