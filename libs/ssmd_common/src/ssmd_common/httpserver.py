"""aiohttp's server, with a deadline for a request's head, and an edge that an application may have.

aiohttp waits for the rest of a head as long as for the next request of a connection, answers what
it cannot parse with plain text before any middleware, and knows what a reply was after them all.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo

HEAD_SECONDS: Final = 10.0
"""From a connection's first byte, or its opening, to the end of its request's head."""
_IDLE_SECONDS: Final = 75.0
"""Longer than proxies keep a connection that they may use again."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Edge:
    """What an application does around all else, for which a middleware is too late or too dear."""

    handle: Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
    """Answers a request, mostly by asking the application's own handler; that has found the
    request's route, or raises why there is none."""
    refuse: Callable[[web.BaseRequest, int, str], web.Response]
    """Answers a request that reached no handler: the request, a status, and why in words."""
    answered: Callable[[web.BaseRequest, web.StreamResponse], None]
    """Is told of every reply once it is sent, or its reader gone."""


EDGE: Final[web.AppKey[Edge]] = web.AppKey("edge")


class Runner(web.AppRunner):
    """Runs an application, with its `EDGE` where it has one."""

    def __init__(self, app: web.Application, **more: Any) -> None:
        super().__init__(app, access_log=None, keepalive_timeout=_IDLE_SECONDS, **more)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, self.app.get(EDGE))


class _Server(web.Server):
    def __init__(self, made: web.Server, edge: Edge | None) -> None:
        handler: Any = made.request_handler
        around: Any = edge and (lambda request: edge.handle(request, handler))
        super().__init__(
            around or handler,
            request_factory=made.request_factory,
            loop=made._loop,  # noqa: SLF001 - there is no other way to have our own protocol
            **made._kwargs,  # noqa: SLF001
        )
        self.edge = edge

    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(RequestHandler):
    """One connection."""

    __slots__ = ("_edge", "_head_deadline")

    def __init__(self, manager: _Server, **more: Any) -> None:
        super().__init__(manager, **more)
        self._edge = manager.edge
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiter is None or self._waiter.done():
            self._forget_deadline()
        elif self._head_deadline is None:
            self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if self._edge is None or status >= 500:
            answer = super().handle_error(request, status, exc, message)
        if self._edge is not None:
            # The parser shows the very bytes below, or behind, its sentence.
            sentence = (message or "").partition("\n")[0].partition(": b")[0]
            why = sentence.rstrip(": ") or "the request failed"
            answer = self._edge.refuse(request, status, why)
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException) and self._edge is not None:
            resp = self._edge.refuse(request, resp.status, resp.text or resp.reason)
        return await super().finish_response(request, resp, start_time)

    def log_access(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        time: float | None,  # noqa: ARG002 - aiohttp's own form
    ) -> None:
        if self._edge is not None:
            self._edge.answered(request, response)

    def _await_head(self) -> None:
        self._head_deadline = self._loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _forget_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_is_late(self) -> None:
        self._head_deadline = None
        waiter = self._waiter
        if self.transport is None or waiter is None or waiter.done():
            return
        late = _ErrInfo(
            status=408,
            exc=cast(BaseException, None),
            message=f"the request's head did not come within {HEAD_SECONDS:g} s",
        )
        self._messages.append((late, EMPTY_PAYLOAD))
        waiter.set_result(None)
