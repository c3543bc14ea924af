"""What the exchange said against what the stream holds, while all that can break breaks."""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import nats
import pytest

from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream.administration import ensure
from ssmd_stream.market import streams
from ssmd_stream.market.messages import Message, SessionRecord, TickerMessage, TradeMessage
from ssmd_stream.stream import Stream

from .conftest import Market
from .connector_process import Process, leader_of, process

Span = tuple[float, float]


class Trial:
    """Two connectors, their NATS, and faults."""

    def __init__(self, market: Market, database: Database, folder: Path, seed: int) -> None:
        self.market = market
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
        }
        made = process(self.market, self.database, self.folder, **given)
        self.running.append(await self.stack.enter_async_context(made))

    async def leader(self) -> Process:
        return await leader_of(self.running)

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


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(0, id="each once"),
        pytest.param(
            os.environ.get("CONNECTOR_ORACLE_SECONDS", "600"),
            marks=[pytest.mark.slow, pytest.mark.timeout(7200)],
            id="ten minutes",
        ),
    ],
    indirect=True,
)
async def test_what_is_missing_lies_in_a_recorded_gap(
    market: Market, database: Database, tmp_path: Path, seconds: float
) -> None:
    trial = Trial(market, database, tmp_path, seed=int(os.environ.get("SEED", "22")))
    async with trial.stack:
        await trial.start()
        await trial.start()
        began = await market.first_stored() + 0.05
        await trial.run(seconds)
        # All faults are over: what comes now is whole.
        before = market.trades()
        await market.until(lambda: market.trades() > before + 40)
        market.sim.floor.set_rate(0)
        await market.whole(began)
        leader = await trial.leader()
        # One that has only just begun would not know what a signal means.
        for one in trial.running:
            if one is not leader:
                await one.until("standby")
        for one in [*[o for o in trial.running if o is not leader], leader]:
            assert await one.end() == 0
    stored = [message for _, message in await market.stored()]
    _each_once_and_in_order(stored)
    _as_it_was_said(market, stored)
    lost = _quotes_lost(market, stored, began)
    holes = _holes(stored)
    outside = [at for at in lost if not any(a <= at <= b for a, b in holes)]
    assert not outside, (_latest(stored), len(outside), len(lost), trial.done, holes, outside[:5])


def _each_once_and_in_order(stored: list[Message]) -> None:
    heard = [m for m in stored if not isinstance(m, SessionRecord)]
    assert len({m.id for m in heard}) == len(heard)
    trades = [m.trade_id for m in stored if isinstance(m, TradeMessage)]
    assert len(set(trades)) == len(trades)
    last: dict[str, int] = {}
    for message in heard:
        assert message.frame > last.get(message.session, 0)
        last[message.session] = message.frame


def _as_it_was_said(market: Market, stored: list[Message]) -> None:
    said = {json.dumps(frame["msg"], sort_keys=True) for frame in market.sent if "msg" in frame}
    for message in stored:
        if isinstance(message, TradeMessage | TickerMessage) and message.source == "ws":
            assert json.dumps(json.loads(bytes(message.msg)), sort_keys=True) in said


def _quotes_lost(market: Market, stored: list[Message], began: float) -> list[float]:
    """When those were said that the stream does not have."""
    have = {bytes(m.msg) for m in stored if isinstance(m, TickerMessage)}
    found = {json.dumps(json.loads(one), sort_keys=True) for one in have}
    return [
        frame["msg"]["ts_ms"] / 1000
        for frame in market.sent
        if frame["type"] == "ticker"
        and frame["msg"]["ts_ms"] / 1000 >= began
        and json.dumps(frame["msg"], sort_keys=True) not in found
    ]


def _holes(stored: list[Message]) -> list[Span]:
    """When quotes may be missing, from the records alone: the gaps, and where no session was whole.

    A session is whole from its takeover's `since`, or the end of its first gap, to its last record.
    """
    spans: dict[str, Span] = {}
    holes: list[Span] = []
    for record in stored:
        if not isinstance(record, SessionRecord):
            continue
        at = _seconds(record.received_at)
        begins = None
        if record.what == "takeover":
            begins = record.since
        elif record.what == "gap" and record.of_channel == "ticker":
            begins = record.until
            if record.since is not None and record.until is not None:
                holes.append((_seconds(record.since), _seconds(record.until)))
        first, last = spans.get(record.session, (float("inf"), 0.0))
        if begins is not None:
            first = min(first, _seconds(begins))
        spans[record.session] = (first, max(last, at))
    reached = None
    for first, last in sorted(spans.values()):
        if reached is not None and first > reached:
            holes.append((reached, first))
        reached = last if reached is None else max(reached, last)
    # Bounds of a gap are times of arrival, and a busy machine hears late.
    late = _latest(stored)
    return [(a - late, b) for a, b in holes]


def _latest(stored: list[Message]) -> float:
    """How many seconds after it was said a quote arrived, at worst."""
    return max(
        _seconds(m.received_at) - _seconds(m.exchange_time)
        for m in stored
        if isinstance(m, TickerMessage) and m.exchange_time
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
