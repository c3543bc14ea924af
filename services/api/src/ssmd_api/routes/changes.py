"""/v1/changes: the change stream as server-sent events."""

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from nats.aio.msg import Msg

from ssmd_api import context
from ssmd_api.changefilter import TABLES, ChangeFilter, NothingFits
from ssmd_api.feed import EventId, Gone
from ssmd_api.middleware import check_key
from ssmd_api.parameters import Parameters
from ssmd_api.problems import Problem, too_many

_KEEP_ALIVE_SECONDS: Final = 15.0
_SLOWEST_WRITE_SECONDS: Final = 30.0
_RETRY_MILLISECONDS: Final = 2000
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


async def changes(request: web.Request) -> web.StreamResponse:
    """Changes as they are committed: after `Last-Event-ID`, or `after` a sequence, or new ones."""
    given = Parameters(request.query, datetime.now(UTC))
    wanted = ChangeFilter(
        tables=given.choices("table", TABLES),
        series=given.text("series"),
        event=given.text("event"),
        market=given.text("market"),
        types=given.texts("type"),
    )
    last: EventId | int | None = given.number("after", 0)
    if "Last-Event-ID" in request.headers:
        try:
            last = EventId.parse(request.headers["Last-Event-ID"])
        except ValueError as error:
            given.fault("Last-Event-ID", str(error))
    subjects: list[str] = []
    try:
        subjects = wanted.subjects()
    except NothingFits as error:
        given.fault("table", str(error))
    given.done()
    places = context.of(request).streams
    if places.locked():
        raise too_many("Too many streams", "as many streams as allowed are open already", 10)
    async with places:
        return await _stream(request, wanted, subjects, last)


async def _stream(
    request: web.Request, wanted: ChangeFilter, subjects: list[str], last: EventId | int | None
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
    await response.prepare(request)
    await _write(response, f"retry: {_RETRY_MILLISECONDS}\n\n".encode())
    told_at = time.monotonic()
    async with aclosing(service.feed.messages(subjects, start)) as batches:
        try:
            async for batch in batches:
                if service.stopping.is_set():
                    break
                lines = b"".join(event(message) for message in batch if _fits(message, wanted))
                if not lines and time.monotonic() - told_at > _KEEP_ALIVE_SECONDS:
                    # The key may have been revoked meanwhile.
                    await check_key(request, "read")
                    lines = b": keep-alive\n\n"
                if lines:
                    await _write(response, lines)
                    told_at = time.monotonic()
        except Gone:
            await _write(response, b"event: gone\ndata: {}\n\n")
    return response


def event(message: Msg) -> bytes:
    """One server-sent event: its id resumes, its name is the change's type."""
    headers = message.headers or {}
    number = EventId(message.metadata.sequence.stream, headers.get("Nats-Msg-Id", ""))
    kind = headers.get("Ssmd-Type", "change")
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        str(number).encode(),
        kind.encode(),
        message.data.replace(b"\n", b" "),
    )


def _fits(message: Msg, wanted: ChangeFilter) -> bool:
    return not wanted.types or (message.headers or {}).get("Ssmd-Type") in wanted.types


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """A reader that takes nothing for long is cut off."""
    async with asyncio.timeout(_SLOWEST_WRITE_SECONDS):
        await response.write(data)
