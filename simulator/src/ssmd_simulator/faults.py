"""Faults on demand: what a network and an exchange can do to a client."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from itertools import count
from math import inf
from typing import Any, Literal

import msgspec
from aiohttp import web

from ssmd_simulator.codes import CODES
from ssmd_simulator.corruption import ENTITIES, spoilt
from ssmd_simulator.replies import PREFIX, VIEW, View, encoded

Kind = Literal[
    "latency",  # answer after `seconds`
    "hang",  # no answer for `seconds`, then the connection is cut
    "storm",  # 429
    "error",  # `status` (500) with a JSON error body
    "html",  # `status` (502) with a web page for a body
    "wrong_type",  # the right body as text/plain
    "empty",  # 200 and no body
    "reset",  # the connection breaks in the middle of the body
    "truncated",  # a whole reply whose JSON ends in the middle
    "garbage",  # a whole reply that is not JSON
    "stale",  # replies of the moment when the fault was set
    "flip",  # one market (`ticker`) as it was `seconds` ago
    "unreadable",  # `field` of the `entity` (`ticker`) is `json`, any text at all; None: left out
    "duplicate",  # frames come twice
    "reorder",  # each two frames change places
    "gap",  # frames are lost, their sequence numbers used up
    "silence",  # neither frames nor pings, the connection stays
    "garbage_frame",  # a frame that is not JSON before each frame
    "channel_error",  # error 10 ends the subscription
    "overflow",  # error 25 ends the subscription
    "error_frame",  # error `code` before each frame; the subscription goes on
    "refuse",  # commands are answered with error `code`
]

FRAME_KINDS = frozenset(
    {
        "duplicate",
        "reorder",
        "gap",
        "silence",
        "garbage_frame",
        "channel_error",
        "overflow",
        "error_frame",
    }
)


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /control/faults`.

    `path` is a regular expression that the path after /trade-api/v2 must match; `times` is how many
    requests or frames it hits (None: all), `after` how many it lets pass first, `lasting` after how
    many seconds it is over (None: when it is cleared). `channel` is the one whose frames are hit,
    "" all.
    """

    kind: Kind
    path: str = ".*"
    channel: str = ""
    times: int | None = None
    after: int = 0
    lasting: float | None = None
    seconds: float = 1.0
    status: int | None = None
    code: int = 27
    ticker: str = ""
    entity: str = "market"
    field: str = ""
    json: str | None = None
    id: int = 0
    since: float = 0.0
    hits: int = 0

    @property
    def until(self) -> float:
        """When the fault is over by itself."""
        return inf if self.lasting is None else self.since + self.lasting


class Faults:
    """The faults in force; consulted for each request and each frame."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ids = count(1)
        self.active: list[Fault] = []

    def start(self, fault: Fault) -> Fault:
        """Put a fault in force."""
        try:
            re.compile(fault.path)
        except re.error as error:
            raise ValueError(f"path is not a regular expression: {error}") from error
        if fault.code not in CODES:
            raise ValueError(f"the exchange knows no WebSocket error {fault.code}")
        if fault.entity not in ENTITIES:
            raise ValueError(f"entity is one of {', '.join(sorted(ENTITIES))}")
        fault.id, fault.since = next(self._ids), self._clock()
        self.active.append(fault)
        return fault

    def clear(self, number: int | None = None) -> int:
        """End one fault, or all; how many there were."""
        before = len(self.active)
        self.active = [f for f in self.active if number is not None and f.id != number]
        return before - len(self.active)

    def _hit(self, fault: Fault) -> bool:
        if self._clock() >= fault.until:
            return False
        if fault.after > 0:
            fault.after -= 1
            return False
        if fault.times is not None and fault.hits >= fault.times:
            return False
        fault.hits += 1
        return True

    def for_request(self, path: str) -> list[Fault]:
        """The faults that hit a request, in the order they were set."""
        return [
            fault
            for fault in self.active
            if fault.kind not in FRAME_KINDS
            and fault.kind != "refuse"
            and re.fullmatch(fault.path, path)
            and self._hit(fault)
        ]

    def for_frame(self, channel: str) -> dict[str, Fault]:
        """The faults that hit a frame of a channel, by kind."""
        return {
            f.kind: f
            for f in self.active
            if f.kind in FRAME_KINDS and f.channel in ("", channel) and self._hit(f)
        }

    def for_command(self) -> int | None:
        """The code of the error that a command gets instead of its answer."""
        refusals = (f.code for f in self.active if f.kind == "refuse" and self._hit(f))
        return next(refusals, None)

    @property
    def silent(self) -> bool:
        """Whether connections say nothing at all, pings included."""
        now = self._clock()
        return any(f.kind == "silence" and now < f.until for f in self.active)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def faulty(faults: Faults) -> Any:
    """A middleware that lets the faults happen to requests for market data."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not faults.active or not request.path.startswith(PREFIX + "/"):
            return await handler(request)
        hit = faults.for_request(request.path.removeprefix(PREFIX))
        request[VIEW] = View(
            at=min((fault.since for fault in hit if fault.kind == "stale"), default=inf),
            flipped={fault.ticker: fault.seconds for fault in hit if fault.kind == "flip"},
        )
        for fault in hit:
            answer = await _instead(fault, request)
            if answer is not None:
                return answer
        response = await handler(request)
        for fault in hit:
            if isinstance(response, web.Response):
                response = await _spoiled(fault, request, response)
        return response

    return middleware


async def _instead(fault: Fault, request: web.Request) -> web.StreamResponse | None:
    match fault.kind:
        case "latency":
            await asyncio.sleep(fault.seconds)
        case "hang":
            await asyncio.sleep(fault.seconds)
            _cut(request)
            return web.Response(status=500)
        case "storm":
            return encoded({"error": "too many requests"}, 429)
        case "error":
            body = {"code": "internal_error", "message": "internal error", "details": "on demand"}
            return encoded({"error": body}, fault.status or 500)
        case "html":
            page = "<html><body><h1>502 Bad Gateway</h1></body></html>"
            return web.Response(text=page, status=fault.status or 502, content_type="text/html")
        case "garbage":
            return web.Response(body=b"\x00not json{", content_type="application/json")
        case "empty":
            return web.Response(body=b"", content_type="application/json")
        case _:
            pass
    return None


async def _spoiled(fault: Fault, request: web.Request, whole: web.Response) -> web.StreamResponse:
    body = whole.body if isinstance(whole.body, bytes) else b""
    match fault.kind:
        case "truncated":
            half = body[: len(body) // 2]
            return web.Response(body=half, status=whole.status, content_type="application/json")
        case "unreadable" if whole.status == 200:
            row = (fault.entity, fault.ticker, fault.field, fault.json)
            return web.Response(body=spoilt(body, *row), content_type="application/json")
        case "wrong_type":
            return web.Response(body=body, status=whole.status, content_type="text/plain")
        case "reset":
            response = web.StreamResponse(status=whole.status)
            response.content_type = "application/json"
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body[: max(1, len(body) // 2)])
            _cut(request)
            return response
        case _:
            return whole


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
