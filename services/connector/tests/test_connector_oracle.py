"""What the exchange said against what the stream holds, while all that can break breaks."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import nats
import pytest

from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream.administration import ensure
from ssmd_stream.market import streams
from ssmd_stream.market.messages import Message
from ssmd_stream.stream import Stream

from .conftest import Market
from .connector_oracle import as_it_was_said, each_once_and_in_order, holes, latest, quotes_lost
from .connector_process import Process, leader_of, process


class Trial:
    """Two connectors, their NATS, and faults."""

    def __init__(
        self, market: Market, database: Database, folder: Path, seed: int, **settings: str
    ) -> None:
        self.market = market
        self.settings = settings
        self.database = database
        self.folder = folder
        self.random = random.Random(seed)
        self.stack = AsyncExitStack()
        self.running: list[Process] = []
        self.done: Counter[str] = Counter()

    async def start(self) -> None:
        """One more connector."""
        given = {
            "CONNECTOR_SILENCE_SECONDS": "3",
            "CONNECTOR_ACK_SECONDS": "2",
            "CONNECTOR_STANDBY_SECONDS": "120",
            **self.settings,
        }
        made = process(self.market, self.database, self.folder, **given)
        self.running.append(await self.stack.enter_async_context(made))

    async def leader(self) -> Process:
        return await leader_of(self.running)

    async def end(self) -> None:
        """Stop all in good order, the leader last."""
        leader = await self.leader()
        others = [one for one in self.running if one is not leader]
        # One that has only just begun would not know what a signal means.
        for one in others:
            await one.until("standby")
        for one in [*others, leader]:
            assert await one.end() == 0

    def lost_nothing_but_in_gaps(self, stored: list[Message], began: float) -> None:
        """What the stream has is as it was said; a quote that it lacks was said in a gap."""
        each_once_and_in_order(stored)
        as_it_was_said(self.market, stored)
        lost = quotes_lost(self.market, stored, began)
        spans = holes(stored)
        outside = [at for at in lost if not any(a <= at <= b for a, b in spans)]
        said = latest(stored), len(outside), len(lost), self.done, spans, outside[:5]
        assert not outside, said

    # --- what breaks ------------------------------------------------------------------------------

    async def kill_leader(self) -> None:
        leader = await self.leader()
        self.running.remove(leader)
        await leader.kill()
        await self.start()
        await self.leader()

    async def kill_standby(self) -> None:
        leader = await self.leader()
        [standby] = [one for one in self.running if one is not leader]
        self.running.remove(standby)
        await standby.kill()
        await self.start()

    async def restart_nats(self) -> None:
        await self.market.server.stop()
        await asyncio.sleep(self.random.random())
        await self.market.server.start()

    async def cut(self) -> None:
        self.market.sim.hub.disconnect()

    async def half_open(self) -> None:
        hub = self.market.sim.hub
        dead = set(hub.connections)
        hub.half_open()
        # Closed properly meanwhile they would say that nothing is missing, as no real route does.
        await self.market.until(lambda: not dead & hub.connections)

    async def gap(self) -> None:
        # Not of quotes: they have no numbers, and nobody can tell.
        self.market.sim.faults.start(Fault("gap", channel="trade", times=3))

    async def overflow(self) -> None:
        channel = self.random.choice(["trade", "ticker"])
        self.market.sim.faults.start(Fault("overflow", channel=channel, times=1))
        self.market.sim.faults.start(Fault("refuse", code=27, times=1))

    async def unreadable(self) -> None:
        self.market.sim.faults.start(Fault("garbage_frame", channel="trade", times=10))

    @property
    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.kill_leader, self.kill_standby, self.restart_nats, self.cut, self.half_open,
            self.gap, self.overflow, self.unreadable,
        ]  # fmt: skip

    async def run(self, seconds: float) -> None:
        """Every fault once, then chosen ones until so many seconds are over."""
        until = time.monotonic() + seconds
        # Last in this list is the first: nothing else is near it, which might explain a loss.
        first, *others = self.faults
        self.random.shuffle(others)
        order = [*others, first]
        while order or time.monotonic() < until:
            fault = order.pop() if order else self.random.choice(self.faults)
            self.done[fault.__name__] += 1
            await fault()
            before = self.market.trades()
            await self.market.until(lambda before=before: self.market.trades() > before + 60)  # type: ignore[misc]


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    """With a NATS of its own, which may end."""
    async with NatsServer(tmp_path / "nats") as server:
        client = await nats.connect(server.url)
        wanted = streams.market_data(max_bytes=1 << 28)
        stream = Stream(client, wanted["name"], publisher="connector")
        await ensure(stream, wanted, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")
        async with Simulator(
            budget=0, ws_auth=False, market_rate=150, traded_markets=50, ping_seconds=0.5
        ) as sim:
            yield Market(sim, server, stream)
        await client.close()


async def test_what_is_missing_lies_in_a_recorded_gap(
    market: Market, database: Database, tmp_path: Path
) -> None:
    """Each fault once; for ten minutes, and with books: `test_connector_books_oracle`."""
    trial = Trial(market, database, tmp_path, seed=int(os.environ.get("SEED", "22")))
    async with trial.stack:
        await trial.start()
        await trial.start()
        began = await market.first_stored() + 0.05
        await trial.run(0)
        # All faults are over: what comes now is whole.
        before = market.trades()
        await market.until(lambda: market.trades() > before + 40)
        market.sim.floor.set_rate(0)
        await market.whole(began)
        await trial.end()
    stored = [message for _, message in await market.stored()]
    trial.lost_nothing_but_in_gaps(stored, began)
