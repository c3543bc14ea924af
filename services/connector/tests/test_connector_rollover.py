"""Markets of a quarter of an hour that open and end every few seconds: their books are subscribed
and unsubscribed with them."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest

from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream.administration import ensure
from ssmd_stream.market import streams
from ssmd_stream.market.messages import BookMessage
from ssmd_stream.stream import Stream

from .conftest import Market
from .connector_process import process
from .test_connector_books import Shelf

SECONDS = float(os.environ.get("CONNECTOR_ROLLOVER_SECONDS", "60"))
TEMPO = 45.0
"""A quarter of an hour lasts twenty seconds."""
SERIES = ("KXBTC15M", "KXETH15M", "KXSOL15M")
LATE_SECONDS = 15.0
"""So long after its activation a market is subscribed at the latest, and unsubscribed after its
end, however slow the machine: most of a market's life. A second is what is promised on one that has
nothing else to do."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 1200)]


@pytest.fixture
async def market(nats_server: NatsServer) -> AsyncIterator[Market]:
    client = await nats.connect(nats_server.url)
    wanted = streams.market_data(max_bytes=1 << 26)
    stream = Stream(client, wanted["name"], publisher="connector")
    await ensure(stream, wanted, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")
    given = {"market_rate": 200, "traded_markets": 50, "tempo": TEMPO, "scenarios": 0}
    async with Simulator("tiny", budget=0, ws_auth=False, **given) as sim:
        yield Market(sim, nats_server, stream)
    await client.close()


class Watch:
    """When markets were active at the exchange, and when their books were subscribed there."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.active: dict[str, list[float]] = {}
        self.subscribed: dict[str, list[float]] = {}

    def look(self) -> None:
        sim = self.shelf.market.sim
        now, clock = time.monotonic(), sim.clock()
        active = {
            market.ticker
            for market in list(sim.universe.markets.values())
            if market.event.series.ticker in SERIES and market.status(clock) == "active"
        }
        for seen, tickers in ((self.active, active), (self.subscribed, self.shelf.subscribed())):
            for ticker in tickers:
                seen.setdefault(ticker, [now, now])[1] = now

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.05)


async def test_books_follow_markets_that_roll_over(
    market: Market, database: Database, tmp_path: Path
) -> None:
    shelf = Shelf(market, database, tmp_path / "scope.yaml")
    shelf.scope.write_text(f"books: [{{series: [{', '.join(SERIES)}]}}]\n")
    scope = {"CONNECTOR_SCOPE_FILE": str(shelf.scope)}
    slot = {"CDC_SLOT": f"s_{time.time_ns()}", "CDC_HEARTBEAT_SECONDS": "0.5"}
    watch = Watch(shelf)
    async with (
        process(market, database, tmp_path, "cdc", **slot) as cdc,
        process(market, database, tmp_path, "lifecycle") as lifecycle,
        process(market, database, tmp_path, **scope) as connector,
    ):
        for one in (cdc, lifecycle, connector):
            await one.until("leading")
        await market.until(lambda: bool(shelf.subscribed()))
        watching = asyncio.create_task(watch.run())
        await asyncio.sleep(SECONDS)
        watching.cancel()
        ended = time.monotonic()
        assert await connector.end() == 0
        assert await cdc.end() == 0
        await lifecycle.end()
    first = min(seen[0] for seen in watch.active.values())
    whole = {
        ticker: seen
        for ticker, seen in watch.active.items()
        if seen[0] > first + 1 and seen[1] < ended - LATE_SECONDS - 1
    }
    assert len(whole) >= len(SERIES)
    late = [watch.subscribed[t][0] - seen[0] for t, seen in whole.items() if t in watch.subscribed]
    after = [watch.subscribed[t][1] - seen[1] for t, seen in whole.items() if t in watch.subscribed]
    sys.stdout.write(
        f"{len(whole)} markets, subscribed after {sorted(late)[len(late) // 2]:.2f} s "
        f"(at worst {max(late):.2f}), unsubscribed after {sorted(after)[len(after) // 2]:.2f} s "
        f"(at worst {max(after):.2f})\n"
    )
    assert not whole.keys() - watch.subscribed.keys()
    assert max(late) < LATE_SECONDS
    assert max(after) < LATE_SECONDS
    stored = await shelf.stored()
    # One that began in the last moment may have been subscribed while nobody watched.
    shelf.tickers = sorted({each.ticker for each in stored if isinstance(each, BookMessage)})
    shelf.is_as_sent(stored)
    added = {t for r in await shelf.records("added") for t in r.tickers or ()}
    removed = {t for r in await shelf.records("removed") for t in r.tickers or ()}
    assert whole.keys() <= added
    assert whole.keys() <= removed
