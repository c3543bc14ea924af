"""What the simulator's tests share: where the recordings are, a clock to step, a client."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from ssmd_simulator.client import Client
from ssmd_simulator.server import Simulator
from ssmd_simulator.stepped import Stepped


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


@pytest.fixture
async def client(http: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """A client of a small universe that stands still."""
    async with Simulator(budget=0) as sim:
        yield Client(sim, http)
