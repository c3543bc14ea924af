"""A publisher's life against a real NATS: what the exchange sent against what the stream holds."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.health import Health
from ssmd_common.settings import NatsSettings
from ssmd_connector.capture import Capture, MarketOutgoing
from ssmd_connector.life import REMEMBERED, Life
from ssmd_connector.outbox import Outbox
from ssmd_connector.seen import Seen
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_simulator.faults import Fault
from ssmd_stream.market.messages import Message, SessionRecord, TradeMessage
from ssmd_stream.publish.options import PublisherMetrics, PublisherOptions
from ssmd_stream.publish.publisher import Publisher

from .conftest import Market

POLICY = SocketPolicy(
    silence_seconds=30, reconnect=RetryPolicy(base_seconds=0.01, cap_seconds=0.05)
)


class NoNames:
    def of(self, ticker: str) -> tuple[str | None, str | None]:
        return ("KXONE", "KXONE-1") if ticker.endswith("1") else (None, None)


class World:
    """Lives of a connector in this process."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.sim = market.sim
        self.server = market.server
        self.stream = market.stream
        self.outbox = Outbox(100_000, 1 << 26)

    @asynccontextmanager
    async def living(self, **options: Any) -> AsyncIterator[Life]:
        registry = CollectorRegistry()
        metrics = PublisherMetrics(
            Counter("messages", "-", ["type"], registry=registry),
            Gauge("in_flight", "-", registry=registry),
            Gauge("in_flight_bytes", "-", registry=registry),
            Histogram("publish_seconds", "-", registry=registry),
            Gauge("not_storing", "-", registry=registry),
        )

        async def refuse(message: MarketOutgoing, limit: int) -> MarketOutgoing:
            raise AssertionError(f"{message.id} does not fit in {limit} bytes")

        seen = Seen()
        await seen.read(self.stream, datetime.now(UTC) - REMEMBERED)
        info = await self.stream.info()
        channels = [Selection("trade"), Selection("ticker")]
        stop = asyncio.Event()
        async with (
            KalshiRest(self.sim.base_url, budget=10_000) as rest,
            KalshiSocket(self.sim.ws_url, channels=channels, policy=POLICY) as socket,
        ):
            publisher = Publisher(
                self.stream,
                NatsAccess.of(NatsSettings.model_validate({"nats_url": self.server.url})),
                Health("connector"),
                PublisherOptions(1000, 1 << 20, 5.0, outage_budget_seconds=60.0),
                metrics,
                created=info.created,
                last_sequence=info.last_sequence,
                name="ssmd-connector",
                rights=None,
                replace=refuse,
            )
            life = Life(
                socket, rest, Capture("0", NoNames()), self.outbox, publisher, seen,
                health=Health("connector"), **{"count_seconds": 0.1, **options},
            )  # fmt: skip
            running = asyncio.create_task(life.run(stop))
            try:
                yield life
                stop.set()
                async with asyncio.timeout(60):
                    await running
            finally:
                running.cancel()
                await asyncio.wait([running])


@pytest.fixture
def world(market: Market) -> World:
    return World(market)


def records(stored: list[tuple[str, Message]], what: str) -> list[SessionRecord]:
    return [m for _, m in stored if isinstance(m, SessionRecord) and m.what == what]


async def test_a_life_publishes_every_frame_once_and_in_order(world: World) -> None:
    async with world.living():
        await world.market.until(lambda: world.market.trades() >= 100)
        world.sim.floor.set_rate(0)
        await world.market.until(lambda: not len(world.outbox))
        await asyncio.sleep(0.3)
    stored = await world.market.stored()
    said = [m for _, m in stored if m.__class__.__name__ in ("TradeMessage", "TickerMessage")]
    sent = [frame for frame in world.market.sent if frame["type"] in ("trade", "ticker")]
    assert [json.loads(bytes(m.msg)) for m in said] == [frame["msg"] for frame in sent]
    assert [m.frame for m in said] == sorted(m.frame for m in said)
    assert len({m.session for m in said}) == 1
    for subject, message in stored:
        if isinstance(message, TradeMessage):
            assert subject.startswith(
                "md.trade.KXONE." if message.ticker[-1] == "1" else "md.trade._._"
            )
    [closed] = records(stored, "closed")
    last = records(stored, "count")[-1]
    assert last.published == {
        "trade": world.market.trades(), "ticker": len(sent) - world.market.trades()
    }  # fmt: skip
    assert closed.reason == "stopped"
    assert [r.of_channel for r in records(stored, "subscribed")] == ["trade", "ticker"]


async def test_no_trade_is_missing_after_gaps_and_disconnects(world: World) -> None:
    async with world.living():
        await world.market.until(lambda: world.market.trades() >= 50)
        began = world.sim.clock() - 0.5
        world.sim.faults.start(Fault("gap", channel="trade", times=5))
        await world.market.until(lambda: world.market.trades() >= 120)
        world.sim.hub.disconnect()
        await world.market.until(lambda: world.market.trades() >= 180)
        world.sim.faults.start(Fault("gap", channel="trade", times=2))
        await world.market.until(lambda: world.market.trades() >= 220)
        world.sim.floor.set_rate(0)
        await world.market.whole(began)
    stored = await world.market.stored()
    gaps = [r for r in records(stored, "gap") if r.of_channel == "trade"]
    assert {(r.reason or "").split(":")[0] for r in gaps} == {"start", "sequence", "closed"}
    assert sum(r.trades or 0 for r in records(stored, "repaired")) >= 7
    rest = [m for _, m in stored if isinstance(m, TradeMessage) and m.source == "rest"]
    assert len({m.id for m in rest}) == len(rest) >= 7


async def test_what_was_traded_between_two_lives_is_read_again(world: World) -> None:
    async with world.living():
        await world.market.until(lambda: world.market.trades() >= 50)
        began = world.sim.clock() - 0.2
    await world.market.until(lambda: len(world.sim.floor.tape.all()) > 0)
    await asyncio.sleep(0.5)
    async with world.living():
        before = world.market.trades()
        await world.market.until(lambda: world.market.trades() >= before + 30)
        world.sim.floor.set_rate(0)
        await world.market.whole(began)
    assert len(records(await world.market.stored(), "opened")) == 2


async def test_what_finds_no_room_is_counted_and_trades_are_read_again(world: World) -> None:
    world.outbox = Outbox(60, 1 << 26)
    async with world.living() as life:
        await world.market.until(lambda: world.market.trades() >= 20)
        began = world.sim.clock() - 0.2
        publisher, held = life._publisher, asyncio.Event()
        send = publisher.send

        async def hold(messages: Sequence[MarketOutgoing]) -> None:
            await held.wait()
            await send(messages)

        publisher.send = hold  # type: ignore[method-assign]
        await world.market.until(lambda: {"ticker", "trade"} <= world.outbox._refused)
        assert len(world.outbox) < 90
        held.set()
        await asyncio.sleep(0.5)
        world.sim.floor.set_rate(0)
        await world.market.whole(began)
    dropped = records(await world.market.stored(), "dropped")
    assert {"ticker", "trade"} <= {name for r in dropped for name in r.published or {}}


def test_drops_come_with_room_only() -> None:
    outbox = Outbox(10, 1 << 20)
    at = datetime(2026, 11, 29, tzinfo=UTC)

    def message(kind: str, second: int) -> MarketOutgoing:
        return MarketOutgoing("i", "s", kind, b"x", at=at + timedelta(seconds=second))

    taken = [outbox.put(message("ticker", n)) for n in range(8)]
    assert taken == [True] * 6 + [False] * 2
    assert [outbox.put(message("trade", n)) for n in range(6)] == [True] * 4 + [False] * 2
    assert outbox.put(message("session", 0)), "records are always kept"
    assert outbox.drops() is None
    asyncio.run(outbox.take(9))
    assert not outbox.put(message("ticker", 9)), "a channel is dropped for a while"
    drops = outbox.drops()
    assert drops is not None
    assert drops.counts == {"ticker": 3, "trade": 2}
    assert (drops.since, drops.until) == (at + timedelta(seconds=4), at + timedelta(seconds=5))
    assert outbox.put(message("ticker", 10))
