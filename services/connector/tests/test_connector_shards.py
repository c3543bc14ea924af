"""Books in shards, each process with the rights that are written down."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from least_rights import OWNER, nats_url, users

from ssmd_connector.scope import shard_of
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.servers import stack_kind
from ssmd_stream.administration import ensure
from ssmd_stream.market import streams
from ssmd_stream.stream import Stream

from .conftest import Market
from .connector_process import process
from .test_connector_books import Shelf, shelf

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
__all__ = ["shelf"]


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    """With a NATS on which each service is a user."""
    if stack_kind() != "embedded":
        pytest.skip("users are made: the server must be the test's own")
    async with NatsServer(tmp_path / "nats", options=users()) as server:
        client = await nats.connect(nats_url(server, OWNER))
        wanted = streams.market_data(max_bytes=1 << 26)
        stream = Stream(client, wanted["name"], publisher="connector")
        await ensure(stream, wanted, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")
        async with Simulator(budget=0, ws_auth=False, market_rate=200, traded_markets=50) as sim:
            yield Market(sim, server, stream, OWNER)
        await client.close()


async def test_each_shard_has_its_books_and_its_rights(
    market: Market, database: Database, shelf: Shelf, tmp_path: Path
) -> None:
    await shelf.write("active", shelf.tickers)
    scope = {"CONNECTOR_SCOPE_FILE": str(shelf.scope)}
    async with (
        process(market, database, tmp_path, CONNECTOR_SHARD="0/2", **scope) as first,
        process(market, database, tmp_path, CONNECTOR_SHARD="1/2", **scope) as second,
    ):
        await first.until("leading")
        await second.until("leading")
        await market.until(lambda: sorted(shelf.all_subscribed()) == sorted(shelf.tickers))
        heard = len(market.sent)
        await market.until(lambda: len(market.sent) > heard + 200)
        for shard in (0, 1):
            ours = {ticker for ticker in shelf.tickers if shard_of(ticker, 2) == shard}
            assert ours
            stored = await shelf.until_whole(ours, shard)
            assert shelf.books(stored)[0].keys() == ours
        assert await asyncio.gather(first.end(), second.end()) == [0, 0]
    assert "Violation" not in market.server.log.read_text()
