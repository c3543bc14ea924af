"""/v1/changes: the change stream as server-sent events."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ssmd_api import context, rows
from ssmd_api.changefilter import TABLES, ChangeFilter, NothingFits
from ssmd_api.feed import EventId, Gone
from ssmd_api.middleware import check_key
from ssmd_api.parameters import Parameters
from ssmd_api.problems import Problem, too_many
from ssmd_api.unreadable import Unreadable

if TYPE_CHECKING:
    from ssmd_stream.delivery import Delivery

_KEEP_ALIVE_SECONDS: Final = 15.0
_SLOWEST_WRITE_SECONDS: Final = 30.0
_RETRY_MILLISECONDS: Final = 2000
_KIND = re.compile(r"[a-z_]{1,64}", re.ASCII)
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
                if service.stopping.is_set() or request.transport is None:
                    break  # Or the reader has gone, and its place is another's.
                lines = b"".join(_told(message, wanted, service.unreadable) for message in batch)
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


def _told(message: Delivery, wanted: ChangeFilter, unreadable: Unreadable) -> bytes:
    """What a reader is told of a message; nothing of one whose type is not wanted."""
    kind = message.headers.get("Ssmd-Type", "change")
    if (reason := unreadable.why(message)) is not None:
        # Of what type it would have been nobody knows: whoever could have wanted it is told.
        return _unreadable(message, reason)
    if wanted.types and kind not in wanted.types:
        return b""
    return _event(message, kind if _KIND.fullmatch(kind) else "change", message.payload)


def _unreadable(message: Delivery, reason: str) -> bytes:
    document = {
        "sequence": message.sequence,
        "subject": message.subject,
        "reason": reason,
    }
    return _event(message, "unreadable", rows.encode(document))


def _event(message: Delivery, kind: str, data: bytes) -> bytes:
    """One server-sent event: its id resumes, its name is the change's type."""
    number = EventId.of(message.headers, message.sequence)
    # A line's end in JSON is white space; in an event it would end the data.
    data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(number).encode(), kind.encode(), data)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """A reader that takes nothing for long is cut off."""
    async with asyncio.timeout(_SLOWEST_WRITE_SECONDS):
        await response.write(data)
