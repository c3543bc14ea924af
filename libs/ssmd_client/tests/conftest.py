"""The client against the API, over real PostgreSQL and NATS."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

# Test directories are no packages: what tests share is found beside them.
sys.path.append(str(Path(__file__).parent))

from client_testbed import Api, serving
from client_universe import fill

from ssmd_stack.database import Database


@pytest_asyncio.fixture
async def universe(database: Database) -> None:
    """The rows of `client_universe` in the database."""
    async with database.connect() as connection:
        await fill(connection)


@pytest_asyncio.fixture
async def api(database: Database, universe: None) -> AsyncIterator[Api]:
    """The API in this process, without NATS and Redis."""
    async with serving(database) as made:
        yield made
