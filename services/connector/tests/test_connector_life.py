"""A publisher's life against a real NATS: what the exchange sent against what the stream holds."""

import asyncio
import json
from collections import Counter as Counting
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.health import Health
from ssmd_common.settings import NatsSettings
from ssmd_connector import life as life_module
from ssmd_connector.backlog import Backlog
from ssmd_connector.capture import Capture
from ssmd_connector.leftout import LeftOut
from ssmd_connector.life import Life
from ssmd_connector.outbox import Outbox, Room
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.receiver import Receiver
from ssmd_connector.repair import Interval
from ssmd_connector.seen import Seen, Tail
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_simulator.faults import Fault
from ssmd_stream.errors import StreamChanged, StreamUnavailable
from ssmd_stream.market.coverage import Coverage, State, of_datetime
from ssmd_stream.market.messages import (
    Message,
    SessionRecord,
    TickerMessage,
    TradeMessage,
    UnreadableMessage,
)
from ssmd_stream.market.timeline import Span
from ssmd_stream.publish.options import PublisherMetrics, PublisherOptions
from ssmd_stream.publish.publisher import Publisher

from .conftest import Market
from .connector_oracle import believed_complete, quotes_lost, seconds

POLICY = SocketPolicy(
    silence_seconds=30,
    answer_seconds=60,
    reconnect=RetryPolicy(base_seconds=0.01, cap_seconds=0.05),
)


class NoNames:
    def of(self, ticker: str) -> tuple[str | None, str | None]:
        return ("KXONE", "KXONE-1") if ticker.endswith("1") else (None, None)


class World:
    """Lives of a connector in this process: a receiver, and publishers one after the other."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.sim = market.sim
        self.server = market.server
        self.stream = market.stream
        self.room = Room(100_000, 1 << 26)
        self.left: list[MarketOutgoing] = []
        self.seen = Seen()
        self.make_capture = lambda: Capture("0", NoNames())
        self.policy = POLICY
        self.count_seconds = 0.1
        self.receiver: Receiver
        self.health: Health
        self.running: asyncio.Task[None]

    async def quiet(self) -> None:
        """Nothing more is traded, and wait until the latest connection's all has been published."""
        self.sim.floor.set_rate(0)
        sent = list(self.market.by_connection.values())[-1]
        await self.market.until(
            lambda: self.receiver.capture.frame >= len(sent) and not self.room.messages
        )

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[Receiver]:
        channels = [Selection("trade"), Selection("ticker")]
        async with KalshiSocket(
            self.sim.ws_url, channels=channels, policy=self.policy, chance=lambda: 0.0
        ) as socket:
            backlog = Backlog(30.0, 100_000, 1 << 26)
            self.health = Health("connector")
            receiver = Receiver(socket, self.make_capture(), backlog, self.health)
            self.receiver = receiver
            running = asyncio.create_task(receiver.run())
            try:
                yield receiver
            finally:
                running.cancel()
                await asyncio.wait([running])

    @asynccontextmanager
    async def publishing(self, receiver: Receiver) -> AsyncIterator[Life]:
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

        info = await self.stream.info()
        stop = asyncio.Event()
        async with KalshiRest(self.sim.base_url, budget=10_000) as rest:
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
                receiver, rest, self.stream, Outbox(self.room), publisher, self.seen,
                Health("connector"), left=self.left, count_seconds=self.count_seconds,
            )  # fmt: skip
            running = self.running = asyncio.create_task(life.run(stop))
            try:
                yield life
                stop.set()
                async with asyncio.timeout(180):
                    await running
            finally:
                running.cancel()
                await asyncio.wait([running])
                self.left = life.left()

    @asynccontextmanager
    async def living(self) -> AsyncIterator[Life]:
        """One process's life."""
        self.seen, self.left = Seen(), []
        async with self.receiving() as receiver, self.publishing(receiver) as life:
            yield life


@pytest.fixture
def world(market: Market) -> World:
    return World(market)


def _text(said: Any) -> str:
    return json.dumps(said, sort_keys=True)


def records(stored: list[tuple[str, Message]], what: str) -> list[SessionRecord]:
    return [m for _, m in stored if isinstance(m, SessionRecord) and m.what == what]


async def test_a_life_publishes_every_frame_once_and_in_order(world: World) -> None:
    async with world.living():
        await world.market.until(lambda: world.market.trades() >= 100)
        await world.quiet()
    stored = await world.market.stored()
    said = [m for _, m in stored if isinstance(m, TradeMessage | TickerMessage)]
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


@pytest.mark.parametrize("market", [{"ping_seconds": 0.2}], indirect=True)
async def test_a_count_goes_as_far_as_the_connection_is_heard(world: World) -> None:
    """Pings count; over a connection that is dead counts go on, and say that nothing was heard."""
    world.policy = replace(POLICY, answer_seconds=0.2)

    async def heard(enough: Callable[[datetime], bool]) -> None:
        """Wait until the last count says so."""
        async with asyncio.timeout(180):
            while True:
                counts = records(await world.market.stored(), "count")
                if counts and enough(datetime.fromisoformat(counts[-1].until or "")):
                    return
                await asyncio.sleep(0.02)

    async with world.living():
        await world.market.until(lambda: world.market.trades() >= 20)
        await world.quiet()
        quiet = datetime.now(UTC)
        await heard(lambda until: until > quiet)
        world.sim.hub.half_open()
        said = set[str | None]()
        async with asyncio.timeout(180):
            while len(said) != 1:
                await asyncio.sleep(0.05)
                # Two seconds: pings would have come.
                last = records(await world.market.stored(), "count")[-20:]
                said = {one.until for one in last}
    assert len({one.received_at for one in last}) == 20


async def test_nothing_follows_the_last_record_of_a_stop(world: World) -> None:
    async with world.receiving() as receiver:
        async with world.publishing(receiver) as life:
            await world.market.until(lambda: world.market.trades() >= 60)
            # A flush that lasts: what comes meanwhile is not part of it.
            drained = life.pipe.publisher.drained

            async def slowly() -> None:
                frame = receiver.capture.frame
                await world.market.until(lambda: receiver.capture.frame > frame + 40)
                await drained()

            life.pipe.publisher.drained = slowly  # type: ignore[method-assign]
        assert receiver.capture.frame > 0
    stored = [message for _, message in await world.market.stored()]
    assert isinstance(stored[-1], SessionRecord)
    assert (stored[-1].what, stored[-1].reason) == ("closed", "stopped")


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


async def test_who_waits_to_subscribe_anew_is_not_ready(world: World) -> None:
    """The exchange ends the subscription as soon as it says anything."""
    async with world.receiving() as receiver:
        await world.market.until(lambda: receiver.socket.subscribed)
        await world.market.until(lambda: world.health.ready)
        storm = world.sim.faults.start(Fault("overflow", channel="ticker"))
        await world.market.until(lambda: not world.health.ready)
        began = len(world.market.sent)
        await world.market.until(lambda: len(world.market.sent) > began + 200)
        assert storm.hits < 20, "it is not asked for as fast as it ends"
        world.sim.faults.clear(storm.id)
        await world.market.until(lambda: world.health.ready)
        assert receiver.socket.subscribed


async def test_an_exchange_that_closes_again_and_again_is_heard_again_at_once(
    world: World,
) -> None:
    for_ever = RetryPolicy(base_seconds=3600, cap_seconds=3600)
    world.policy = replace(POLICY, stable_seconds=0.2, again_seconds=0.05, reconnect=for_ever)
    async with world.living():
        capture, socket, sessions = world.receiver.capture, world.receiver.socket, set[str]()
        for _ in range(5):
            await world.market.until(lambda: socket.subscribed and capture.session not in sessions)
            sessions.add(capture.session)
            served = datetime.now(UTC) + timedelta(seconds=0.5)
            await world.market.until(lambda n=served: (socket.heard_until or n) > n)  # type: ignore[misc]
            world.sim.hub.disconnect(1001)
        began = await world.market.first_stored() + 0.05
        await world.market.until(lambda: socket.subscribed and capture.session not in sessions)
        world.sim.floor.set_rate(0)
        await world.market.whole(began)
    closed = records(await world.market.stored(), "closed")
    assert [r.reason for r in closed] == ["closed: 1001"] * 5 + ["stopped"]


async def test_what_was_traded_between_two_lives_is_read_again(world: World) -> None:
    async with world.living():
        await world.market.until(lambda: world.market.trades() >= 50)
        began = world.sim.clock() - 0.2
    traded = len(world.sim.floor.tape)
    await world.market.until(lambda: len(world.sim.floor.tape) > traded + 20)
    async with world.living():
        before = world.market.trades()
        await world.market.until(lambda: world.market.trades() >= before + 30)
        world.sim.floor.set_rate(0)
        await world.market.whole(began)
    assert len(records(await world.market.stored(), "opened")) == 2


async def test_a_gap_that_its_publisher_did_not_live_to_mend_is_mended_by_a_later_one(
    world: World,
) -> None:
    async with world.living():
        await world.market.until(lambda: world.market.trades() > 20)
        began = await world.market.first_stored() + 0.05
        # The exchange does not answer until it ends.
        broken = world.sim.faults.start(Fault("error", path="/markets/trades.*"))
        world.sim.faults.start(Fault("gap", channel="trade", times=5))
        before = world.market.trades()
        await world.market.until(lambda: world.market.trades() > before + 60)
        world.sim.floor.set_rate(0)
        # It goes on: what comes next begins far behind the gap.
        lost = datetime.now(UTC)
        await world.market.until(lambda: datetime.now(UTC) > lost + timedelta(seconds=9))
    assert await world.market.missing(began)
    world.sim.faults.clear(broken.id)
    async with world.living():
        await world.market.whole(began)
    stored = await world.market.stored()
    repaired = records(stored, "repaired")
    assert sum(record.trades or 0 for record in repaired) == sum(
        isinstance(m, TradeMessage) and m.source == "rest" for _, m in stored
    )


async def test_a_gap_that_was_heard_while_nobody_published_is_mended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told by the next publisher itself, and began long before the stream's last message."""
    monkeypatch.setattr(life_module, "LATE", timedelta(0))
    away = RetryPolicy(base_seconds=9, cap_seconds=9)
    world.policy = replace(POLICY, stable_seconds=3600, reconnect=away)
    async with world.receiving() as receiver:
        async with world.publishing(receiver):
            await world.market.until(lambda: world.market.trades() > 40)
            began = await world.market.first_stored() + 0.05
            world.sim.hub.disconnect()
            await world.market.until(lambda: not receiver.socket.connected)
            lost = datetime.now(UTC)
            # Counts go on, and the last one is far behind the beginning of the gap.
            await world.market.until(lambda: datetime.now(UTC) > lost + timedelta(seconds=5))
        await world.market.until(lambda: receiver.socket.subscribed)
        before = world.market.trades()
        await world.market.until(lambda: world.market.trades() > before + 20)
        async with world.publishing(receiver) as life:
            send = life.pipe.publisher.send

            async def slowly(messages: Sequence[MarketOutgoing]) -> None:
                # Once: so long the stream lacks what the takeover told.
                life.pipe.publisher.send = send  # type: ignore[method-assign]
                await asyncio.sleep(1)
                await send(messages)

            life.pipe.publisher.send = slowly  # type: ignore[method-assign]
            world.sim.floor.set_rate(0)
            await world.market.whole(began)


async def test_what_found_no_room_before_a_publisher_broke_off_is_told(world: World) -> None:
    """No count came meanwhile that could have told of it."""
    world.room, world.count_seconds = Room(60, 1 << 26), 3600
    async with world.receiving() as receiver:
        with pytest.raises(ExceptionGroup):
            async with world.publishing(receiver) as life:
                await world.market.until(lambda: world.market.trades() >= 20)
                began = await world.market.first_stored() + 0.05
                broken = asyncio.Event()

                async def hold(messages: Sequence[MarketOutgoing]) -> None:
                    await broken.wait()
                    raise StreamChanged("it is another stream")

                life.pipe.publisher.send = hold  # type: ignore[method-assign]
                await world.market.until(lambda: {"ticker", "trade"} <= life.pipe.outbox.refused)
                before = world.market.trades()
                await world.market.until(lambda: world.market.trades() > before + 40)
                broken.set()
                await asyncio.wait([world.running], timeout=60)
        world.room, world.count_seconds = Room(100_000, 1 << 26), 0.1
        async with world.publishing(receiver):
            await world.quiet()
            await world.market.whole(began)
    stored = [message for _, message in await world.market.stored()]
    lost = quotes_lost(world.market, stored, began)
    assert lost
    assert not believed_complete(stored, "ticker", lost, seconds(stored[-1].received_at))


async def test_holes_that_cannot_be_mended_yet_take_no_room(world: World) -> None:
    """One a millisecond, while the exchange's REST does not answer."""
    async with world.living() as life:
        await world.market.until(lambda: world.market.trades() > 20)
        began = await world.market.first_stored() + 0.05
        broken = world.sim.faults.start(Fault("error", path="/markets/trades.*"))
        first = datetime.now(UTC)
        life.hole(first, first)
        await world.market.until(lambda: life.owing is None and broken.hits > 0)
        holes = [first + timedelta(milliseconds=n) for n in range(10_000)]
        for since in holes:
            life.hole(since, since)
        assert life.owing == Interval(holes[0], holes[-1])
        world.sim.faults.clear(broken.id)
        world.sim.floor.set_rate(0)
        await world.market.whole(began)
        await world.market.until(lambda: life.owing is None)


async def test_a_takeover_fills_in_what_the_stream_does_not_have(world: World) -> None:
    """Two processes hear; the one that publishes dies, and what it heard last is not lost."""
    async with world.receiving() as first, world.receiving() as second:
        async with world.publishing(first) as life:
            await world.market.until(lambda: world.market.trades() >= 80)
            await world.market.until(lambda: not world.room.messages)
            # From here on it hears, and nothing of it reaches the stream: as in its last moments.
            life.put = lambda message: None  # type: ignore[method-assign]
            heard = first.capture.frame
            await world.market.until(lambda: first.capture.frame >= heard + 200)
        world.left, world.seen = [], Seen()
        async with world.publishing(second):
            before = world.market.trades()
            await world.market.until(lambda: world.market.trades() >= before + 40)
            await world.quiet()
    stored = await world.market.stored()
    # Both heard all from the second's subscription on, so that nothing may be missing or double.
    quotes = [m for _, m in stored if isinstance(m, TickerMessage)]
    heard_by = {m.session for m in quotes}
    assert len(heard_by) == 2
    began = min(m.frame for m in quotes if m.session == second.capture.session)
    assert began > 1, "it began in the middle of what it had heard"
    # The exchange itself may say the same twice within a millisecond.
    said: Counting[str] = Counting()
    for frames in world.market.by_connection.values():
        said |= Counting(_text(f["msg"]) for f in frames if f["type"] == "ticker")
    twice = Counting(_text(json.loads(bytes(m.msg))) for m in quotes) - said
    assert not twice
    assert [r.reason for r in records(stored, "gap") if r.reason == "takeover"] == []
    trades = [m for _, m in stored if isinstance(m, TradeMessage)]
    assert len({m.trade_id for m in trades}) == len(trades)
    [takeover] = [r for r in records(stored, "takeover") if r.session == second.capture.session]
    assert takeover.since is not None


async def test_what_the_scope_leaves_out_is_told_by_whoever_publishes(world: World) -> None:
    def is_odd(ticker: str) -> bool:
        return sum(ticker.encode()) % 2 == 1

    def make_capture() -> Capture:
        left_out = LeftOut()
        left_out.begin([{"series": ["KXODD"]}])
        return Capture("0", NoNames(), wants=is_odd, left_out=left_out)

    world.make_capture = make_capture
    async with world.receiving() as first, world.receiving() as second:
        for receiver in (first, second):
            async with world.publishing(receiver):
                before = world.market.trades()
                await world.market.until(lambda n=before: world.market.trades() >= n + 60)  # type: ignore[misc]
                sent = [f for f in world.market.sent if f["type"] in ("trade", "ticker")]
                # What was sent by now is taken long before the last count.
                await world.market.until(lambda n=before: world.market.trades() >= n + 240)  # type: ignore[misc]
            world.left, world.seen = [], Seen()
    stored = [message for _, message in await world.market.stored()]
    coverage = Coverage()
    for message in stored:
        if isinstance(message, SessionRecord):
            coverage.take(message)
    ends = [of_datetime(datetime.fromisoformat(m.received_at)) for m in (stored[0], stored[-1])]
    said = {frame["msg"]["market_ticker"] for frame in sent}
    have = {m.ticker for m in stored if isinstance(m, TradeMessage | TickerMessage)}
    assert have
    assert all(map(is_odd, have))
    for ticker in said:
        line = coverage.timeline("trade", ticker, Span(ends[0], ends[1])).intervals()
        states = {interval.state for interval in line}
        if is_odd(ticker):
            assert State.COMPLETE in states
        else:
            assert states == {State.NOT_SUBSCRIBED}, (ticker, line)
    scopes = [m for m in stored if isinstance(m, SessionRecord) and m.what == "scope"]
    assert {record.session for record in scopes} == {
        first.capture.session,
        second.capture.session,
    }
    assert all(record.selectors == [{"series": ["KXODD"]}] for record in scopes)


async def test_a_publisher_that_breaks_off_loses_nothing(world: World) -> None:
    """The next one of the process publishes what the stream does not have, and all since."""
    async with world.receiving() as receiver:
        for _ in range(4):
            with pytest.raises(ExceptionGroup):
                async with world.publishing(receiver) as life:
                    before = world.market.trades()
                    await world.market.until(lambda n=before: world.market.trades() > n + 20)  # type: ignore[misc]
                    # NATS takes nothing for a while, and then the reason comes to light.
                    publisher, send = life.pipe.publisher, life.pipe.publisher.send
                    broken = asyncio.Event()

                    async def half(
                        messages: Sequence[MarketOutgoing], send: Any = send, broken: Any = broken
                    ) -> None:
                        await send(messages[: len(messages) // 2])
                        await broken.wait()
                        raise StreamChanged("it is another stream")

                    publisher.send = half  # type: ignore[method-assign]
                    before = world.market.trades()
                    await world.market.until(lambda n=before: world.market.trades() > n + 20)  # type: ignore[misc]
                    broken.set()
                    await asyncio.wait([world.running], timeout=60)
            world.seen = Seen()
        async with world.publishing(receiver):
            await world.quiet()
    stored = await world.market.stored()
    heard = [m for _, m in stored if isinstance(m, TradeMessage | TickerMessage)]
    # What was traded before the subscription came over REST.
    said = [m for m in heard if m.source == "ws"]
    sent = [frame for frame in world.market.sent if frame["type"] in ("trade", "ticker")]
    assert len(said) == len(sent)
    assert [m.frame for m in said] == sorted(m.frame for m in said)
    trades = [m.trade_id for m in heard if isinstance(m, TradeMessage)]
    assert len(set(trades)) == len(trades)


async def test_a_publisher_that_cannot_begin_loses_nothing_of_the_one_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.receiving() as receiver:
        with pytest.raises(ExceptionGroup):
            async with world.publishing(receiver) as life:
                await world.market.until(lambda: world.market.trades() > 20)
                broken = asyncio.Event()

                async def hold(messages: Sequence[MarketOutgoing]) -> None:
                    await broken.wait()
                    raise StreamChanged("it is another stream")

                life.pipe.publisher.send = hold  # type: ignore[method-assign]
                before = world.market.trades()
                await world.market.until(lambda: world.market.trades() > before + 20)
                broken.set()
                await asyncio.wait([world.running], timeout=60)

        async def away(*_: object) -> Tail:
            raise StreamUnavailable("NATS is away for a moment")

        with monkeypatch.context() as for_now, pytest.raises(StreamUnavailable):
            for_now.setattr(Tail, "read", away)
            async with world.publishing(receiver):
                await asyncio.wait([world.running], timeout=60)
        async with world.publishing(receiver):
            await world.quiet()
    stored = [message for _, message in await world.market.stored()]
    said = [m for m in stored if isinstance(m, TradeMessage | TickerMessage) and m.source == "ws"]
    sent = [frame for frame in world.market.sent if frame["type"] in ("trade", "ticker")]
    assert [json.loads(bytes(m.msg)) for m in said] == [frame["msg"] for frame in sent]


async def test_a_frame_that_cannot_be_read_is_kept_with_its_bytes(world: World) -> None:
    async with world.living():
        await world.market.until(lambda: world.market.trades() >= 20)
        world.sim.faults.start(Fault("garbage_frame", channel="trade", times=3))
        await world.market.until(lambda: world.market.trades() >= 60)
        world.sim.floor.set_rate(0)
        await world.market.whole(world.sim.clock() - 0.2)
    stored = await world.market.stored()
    kept = [(s, m) for s, m in stored if isinstance(m, UnreadableMessage)]
    assert [m.raw for _, m in kept] == [b"{not json"] * 3
    assert {subject for subject, _ in kept} == {"md.unreadable.0"}
    gaps = [r for r in records(stored, "gap") if (r.reason or "").startswith("unreadable")]
    assert {r.of_channel for r in gaps} == {"trade", "ticker"}


async def test_what_finds_no_room_is_counted_and_trades_are_read_again(world: World) -> None:
    world.room = Room(60, 1 << 26)
    async with world.living() as life:
        await world.market.until(lambda: world.market.trades() >= 20)
        began = world.sim.clock() - 0.2
        publisher, held = life.pipe.publisher, asyncio.Event()
        send = publisher.send

        async def hold(messages: Sequence[MarketOutgoing]) -> None:
            await held.wait()
            await send(messages)

        publisher.send = hold  # type: ignore[method-assign]
        await world.market.until(lambda: {"ticker", "trade"} <= life.pipe.outbox.refused)
        assert world.room.messages < 90
        held.set()
        async with asyncio.timeout(180):
            while not await world.market.records("dropped"):  # noqa: ASYNC110 - it asks a server
                await asyncio.sleep(0.05)
        world.sim.floor.set_rate(0)
        await world.market.whole(began)
    dropped = records(await world.market.stored(), "dropped")
    assert {"ticker", "trade"} <= {name for r in dropped for name in r.published or {}}


def test_of_two_quotes_of_one_moment_the_one_that_is_missing_is_published() -> None:
    """The other one was acknowledged, and is not left over."""
    at, moment = datetime(2026, 11, 29, tzinfo=UTC), ("KXONE-1", "2026-11-29T00:00:00.001Z")

    def quote(number: int) -> MarketOutgoing:
        return MarketOutgoing(f"s1.{number}", "s", "ticker", b"x", at, "", None, moment)

    ours = Tail(quotes={"s1": Counting({moment: 1})}, ids={"s1.1"})
    backlog = Backlog(30.0, 100, 1 << 20)
    assert [one.id for one in backlog.missing([quote(1), quote(2)], ours)] == ["s1.2"]
    assert [one.id for one in backlog.missing([quote(2)], ours)] == ["s1.2"]
    # Of another process's quotes as many are the same as there are of the moment.
    others = Tail(quotes={"s2": Counting({moment: 1})}, ids={"s2.1"})
    assert [one.id for one in backlog.missing([quote(1), quote(2)], others)] == ["s1.2"]


def test_drops_come_with_room_only() -> None:
    outbox = Outbox(Room(10, 1 << 20))
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


def at(record: SessionRecord, field: str = "received_at") -> datetime:
    return datetime.fromisoformat(getattr(record, field))


def states(
    stored: Sequence[tuple[str, Message]], channel: str, since: datetime, until: datetime
) -> set[str]:
    """What coverage says of all markets between two times."""
    coverage = Coverage()
    for _, message in stored:
        if isinstance(message, SessionRecord):
            coverage.take(message)
    span = Span(of_datetime(since), of_datetime(until))
    return {one.state for one in coverage.intervals(channel, None, span)}


@pytest.mark.parametrize("market", [{"ping_seconds": 3600.0}], indirect=True)
async def test_a_stop_leaves_nothing_unknown_that_was_heard(world: World) -> None:
    """The exchange has not said anything for a while: it is asked."""
    async with world.living():
        await world.market.until(lambda: world.market.trades() >= 20)
        await world.quiet()
        quiet = datetime.now(UTC)
        await world.market.until(lambda: datetime.now(UTC) > quiet + timedelta(seconds=1))
        stopped, late = datetime.now(UTC), world.receiver.socket.late
    stored = await world.market.stored()
    [subscribed] = [r for r in records(stored, "subscribed") if r.of_channel == "ticker"]
    assert states(stored, "ticker", at(subscribed), stopped - late) == {State.COMPLETE}


@pytest.mark.parametrize("market", [{"ping_seconds": 3600.0}], indirect=True)
async def test_a_connection_that_is_dead_does_not_hold_up_a_stop(world: World) -> None:
    world.policy = replace(POLICY, answer_seconds=0.2, silence_seconds=3600)
    async with world.living():
        await world.market.until(lambda: world.market.trades() >= 20)
        await world.quiet()
        await world.market.until(lambda: bool(world.receiver.socket.heard_until))
        heard = world.receiver.socket.heard_until
        world.sim.hub.half_open()
    stored = await world.market.stored()
    assert heard is not None
    assert at(records(stored, "count")[-1], "until") <= heard
    assert records(stored, "closed")


@pytest.mark.parametrize("market", [{"ping_seconds": 3600.0}], indirect=True)
async def test_a_handover_leaves_nothing_unknown(world: World) -> None:
    """The second one begins to hear before the first one stops, and leads some time afterwards."""

    async def a_second() -> None:
        began = datetime.now(UTC)
        await world.market.until(lambda: datetime.now(UTC) > began + timedelta(seconds=1))

    async with world.receiving() as first, AsyncExitStack() as stack:
        async with world.publishing(first):
            await world.market.until(lambda: world.market.trades() >= 40)
            second = await stack.enter_async_context(world.receiving())
            await world.market.until(lambda: second.socket.subscribed)
            await world.quiet()
            await a_second()
        await a_second()
        world.left, world.seen = [], Seen()
        async with world.publishing(second):
            await a_second()
            stopped, late = datetime.now(UTC), second.socket.late
    stored = await world.market.stored()
    assert {r.session for r in records(stored, "closed")} == {
        first.capture.session,
        second.capture.session,
    }
    for channel in ("trade", "ticker"):
        [since, *_] = [at(r) for r in records(stored, "subscribed") if r.of_channel == channel]
        assert states(stored, channel, since, stopped - late) == {State.COMPLETE}, channel
