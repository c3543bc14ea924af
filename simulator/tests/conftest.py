"""What the simulator's tests share: where the recordings are, a clock to step, a client."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from ssmd_simulator.client import Client
from ssmd_simulator.server import Simulator
from ssmd_simulator.stepped import Stepped

from .specification import Specification


@pytest.fixture(scope="session")
def kalshi_data() -> Path:
    """The directory of specifications and recordings; skips where there is none."""
    root = Path(__file__).parents[2]
    path = Path(os.environ.get("SSMD_KALSHI_DATA", root.parent / "shared" / "kalshi"))
    if not (path / "spec" / "openapi.yaml").exists():
        pytest.skip(f"no recordings at {path} (SSMD_KALSHI_DATA names another place)")
    return path


@pytest.fixture
def clock() -> Stepped:
    return Stepped()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(scope="session")
def still_simulator() -> Iterator[Simulator]:
    """A small universe that stands still, in a thread of its own, for all tests of the session."""
    ready = threading.Event()
    running: list[tuple[Simulator, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        async with Simulator(budget=0) as simulator:
            running.append((simulator, asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="still-simulator")
    thread.start()
    assert ready.wait(60), "the simulator did not start"
    simulator, loop, stop = running[0]
    yield simulator
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)


@pytest.fixture
async def client(http: aiohttp.ClientSession, still_simulator: Simulator) -> AsyncIterator[Client]:
    """A client of the universe that stands still; its faults end with the test.

    Tests add markets to it and change those; none may rely on being the only one.
    """
    client = Client(still_simulator, http)
    yield client
    await client.control("DELETE", "/faults")


@pytest.fixture(scope="session")
def openapi(kalshi_data: Path) -> Specification:
    return Specification(kalshi_data / "spec" / "openapi.yaml")


@pytest.fixture(scope="session")
def asyncapi(kalshi_data: Path) -> Specification:
    return Specification(kalshi_data / "spec" / "asyncapi.yaml")
