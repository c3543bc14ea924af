"""A scripted exchange on localhost, and the recorded replies where they are at hand."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from ssmd_kalshi.retry import RetryPolicy

PROJECT = Path(__file__).parents[3]
DATA = Path(os.environ.get("SSMD_KALSHI_DATA", PROJECT.parent / "shared" / "kalshi"))

Handler = Callable[[web.Request], Any]


@pytest.fixture
def recording() -> Callable[[str], Any]:
    """The body of a recorded reply, by name."""
    folder = DATA / "recordings"
    if not folder.is_dir():
        pytest.skip(f"recorded replies are not at {folder} (SSMD_KALSHI_DATA)")

    def read(name: str) -> Any:
        return json.loads((folder / f"{name}_response.json").read_text())["response"]

    return read


@pytest.fixture
def documented_messages() -> list[bytes]:
    """The documented example of each lifecycle message, as frames."""
    path = DATA / "recordings" / "ws_lifecycle_documented_2026-10.jsonl"
    if not path.is_file():
        pytest.skip(f"documented messages are not at {path} (SSMD_KALSHI_DATA)")
    return [line.encode() for line in path.read_text().splitlines() if line.strip()]


@pytest.fixture
def kalshi_specification() -> dict[str, Any]:
    """The exchange's specification of its WebSocket."""
    path = DATA / "spec" / "asyncapi.yaml"
    if not path.is_file():
        pytest.skip(f"the specification is not at {path} (SSMD_KALSHI_DATA)")
    specification: dict[str, Any] = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    return specification


@pytest.fixture
def patient() -> RetryPolicy:
    """Retries without noticeable pauses, deadlines that a slow machine meets."""
    return RetryPolicy(
        attempts=4,
        throttled_attempts=6,
        base_seconds=0.001,
        cap_seconds=0.002,
        attempt_seconds=30,
        total_seconds=60,
    )


@dataclass
class ScriptedExchange:
    """Answers with the queued replies, then with `otherwise`; remembers what was asked."""

    base_url: str = ""
    queue: deque[Handler] = field(default_factory=deque)
    otherwise: Handler | None = None
    requests: list[web.Request] = field(default_factory=list)
    connections: set[asyncio.Transport] = field(default_factory=set)

    def then(self, *handlers: Handler) -> None:
        self.queue.extend(handlers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        assert request.transport is not None
        self.connections.add(request.transport)
        handler = self.queue.popleft() if self.queue else self.otherwise
        assert handler is not None, f"nobody expected {request.path_qs}"
        reply = handler(request)
        return await reply if asyncio.iscoroutine(reply) else reply

    @property
    def paths(self) -> list[str]:
        return [request.path_qs for request in self.requests]


@asynccontextmanager
async def serving(exchange: ScriptedExchange) -> AsyncIterator[ScriptedExchange]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", exchange.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    exchange.base_url = f"http://127.0.0.1:{port}/trade-api/v2"
    try:
        yield exchange
    finally:
        await runner.cleanup()


@pytest.fixture
async def exchange() -> AsyncIterator[ScriptedExchange]:
    async with serving(ScriptedExchange()) as running:
        yield running
