"""Publishing to a real stream, as a service does that is none of ours yet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.health import Health
from ssmd_common.settings import NatsSettings
from ssmd_common.tasks import end
from ssmd_stack.nats import NatsServer
from ssmd_stream.administration import PUBLISHED, configuration, ensure
from ssmd_stream.errors import Fenced, StreamChanged
from ssmd_stream.publish import wire
from ssmd_stream.publish.options import PublisherMetrics, PublisherOptions
from ssmd_stream.publish.outgoing import Outgoing
from ssmd_stream.publish.publisher import Publisher
from ssmd_stream.publish.tail import identities
from ssmd_stream.stream import Stream, StreamInfo

PATIENCE_SECONDS = 180
STREAM = "MARKET_DATA"


class Bench:
    """MARKET_DATA on a server, and publishers of it."""

    def __init__(self, server: NatsServer, stream: Stream) -> None:
        self.server = server
        self.stream = stream
        self.health = Health("connector")
        registry = CollectorRegistry()
        self.published = Counter("messages", "-", ["type"], registry=registry)
        self.metrics = PublisherMetrics(
            self.published,
            Gauge("in_flight", "-", registry=registry),
            Gauge("in_flight_bytes", "-", registry=registry),
            Histogram("publish_seconds", "-", registry=registry),
            Gauge("not_storing", "-", registry=registry),
        )

    async def wanted(self, **more: Any) -> None:
        made = configuration(
            STREAM,
            "What the exchange says.",
            "md.>",
            max_age_seconds=3600,
            max_bytes=1 << 24,
            replicas=1,
            **{**PUBLISHED, **more},
        )
        await ensure(self.stream, made, service="connector", size="CONNECTOR_STREAM_MAX_BYTES")

    async def publisher(
        self,
        stream: Stream | None = None,
        replace: Callable[[Outgoing, int], Awaitable[Outgoing]] | None = None,
        **options: Any,
    ) -> Publisher[Outgoing]:
        """One that has looked at the stream now."""

        async def refuse(message: Outgoing, limit: int) -> Outgoing:
            raise AssertionError(f"{message.id} does not fit in {limit} bytes")

        info = await self.stream.info()
        given = {"window_messages": 100, "window_bytes": 1 << 20, "ack_seconds": 5.0, **options}
        return Publisher(
            stream or self.stream,
            NatsAccess.of(NatsSettings.model_validate({"nats_url": self.server.url})),
            self.health,
            PublisherOptions(outage_budget_seconds=30.0, **given),
            self.metrics,
            created=info.created,
            last_sequence=info.last_sequence,
            name="connector",
            rights=None,
            replace=replace or refuse,
        )

    async def stored(self) -> list[str | None]:
        last = (await self.stream.info()).last_sequence
        return [identity async for identity in identities(self.stream, 1, last)]


def trades(count: int, first: int = 0, who: str = "s") -> list[Outgoing]:
    return [
        Outgoing(f"{who}:{number}", "md.trade.KX.KX-1.T", "trade", b"x" * 20)
        for number in range(first, first + count)
    ]


def names(count: int) -> list[str]:
    return [message.id for message in trades(count)]


@pytest_asyncio.fixture
async def bench(nats_server: NatsServer) -> AsyncIterator[Bench]:
    client = await nats.connect(nats_server.url)
    made = Bench(nats_server, Stream(client, STREAM, publisher="connector"))
    await made.wanted()
    yield made
    await client.close()


@asynccontextmanager
async def running(publisher: Publisher[Outgoing]) -> AsyncIterator[None]:
    task = asyncio.create_task(publisher.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield
    finally:
        await end(task)


async def test_acknowledgements_come_in_order(bench: Bench, atomic: bool) -> None:
    await bench.wanted(allow_atomic=atomic)
    publisher = await bench.publisher(durable=atomic)
    seen = [publisher.acknowledged]
    assert seen == [(0, 0, None)]
    async with running(publisher):
        for number in range(0, 200, 50):
            await publisher.send(trades(50, number))
        while seen[-1].messages < 200:
            seen.append(await publisher.progressed())
    assert seen == sorted(seen, key=lambda known: known.messages)
    assert all(known.sequence == known.messages for known in seen)
    assert all(known.last and known.last.id == f"s:{known.messages - 1}" for known in seen[1:])
    assert await bench.stored() == names(200)
    # What was acknowledged last is counted, too.
    assert bench.published.labels("trade")._value.get() == 200


async def test_the_window_is_the_limit_of_what_is_in_flight(bench: Bench) -> None:
    publisher = await bench.publisher(window_messages=3)
    sending = asyncio.create_task(publisher.send(trades(10)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not sending.done()
    assert publisher.in_flight == 3
    async with running(publisher):
        await sending
        await publisher.drained()
    assert publisher.in_flight == 0
    assert await bench.stored() == names(10)


async def test_a_stale_publisher_stores_nothing(
    bench: Bench, atomic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.wanted(allow_atomic=atomic)
    stream = Stream(bench.stream.client, STREAM)
    before = await bench.stream.info()
    first = await bench.publisher(durable=atomic)
    second = await bench.publisher(stream, durable=atomic)
    async with running(first):
        await first.send(trades(20))
        await first.drained()
    # It looked before the first wrote, so that only the chain can stop it.
    look, views = stream.info, [before]

    async def look_late() -> StreamInfo:
        # More is handed over while it looks.
        await second.send(trades(1, 20, who="late"))
        return views.pop() if views else await look()

    monkeypatch.setattr(stream, "info", look_late)
    await second.send(trades(20, who="late"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(Fenced):
            await second.run()
    assert not views
    assert await bench.stored() == names(20)


@pytest.mark.parametrize("deleted", ["all", "last"])
async def test_what_was_deleted_before_it_was_seen_is_nobody_elses_doing(
    bench: Bench, deleted: str
) -> None:
    """Of the messages in flight the stream had all, and has some or none of them any more."""
    first, second = await bench.publisher(), await bench.publisher()
    for each in first, second:
        await each.send(trades(3))
    async with running(first):
        await first.drained()
    if deleted == "all":
        await bench.stream.js.purge_stream(STREAM)
    else:
        await bench.stream.js.delete_msg(STREAM, 3)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(StreamChanged, match="deleted or aged out"):
            await second.run()


async def test_a_stream_that_is_gone_ends_it(bench: Bench) -> None:
    publisher = await bench.publisher()
    await bench.stream.js.delete_stream(STREAM)
    with pytest.raises(StreamChanged, match="MARKET_DATA is gone"):
        await publisher.run()


async def test_each_comes_once_though_nats_was_away(bench: Bench) -> None:
    publisher = await bench.publisher(window_messages=1000)
    async with running(publisher):
        await publisher.send(trades(10))
        await publisher.drained()
        await publisher.send(trades(200, 10))
        await bench.server.stop()
        while not bench.health.conditions.get("nats"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert publisher.interrupted
        await publisher.send(trades(200, 210))
        await bench.server.start()
        await publisher.drained()
    assert await bench.stored() == names(410)
    assert not bench.health.conditions.get("nats")


async def test_what_is_stored_without_an_answer_is_not_sent_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, unanswered = wire.Wire.publish, []

    def publish_without_answer(
        self: wire.Wire, subject: str, token: int | None, headers: str, payload: bytes
    ) -> None:
        if "s:4\r\n" in headers and not unanswered:
            unanswered.append(token)
            token = None
        publish(self, subject, token, headers, payload)

    monkeypatch.setattr(wire.Wire, "publish", publish_without_answer)
    publisher = await bench.publisher(ack_seconds=0.3)
    async with running(publisher):
        await publisher.send(trades(5))
        await publisher.drained()
        await publisher.send(trades(5, 5))
        await publisher.drained()
    assert unanswered == [4]
    assert await bench.stored() == names(10)
    assert publisher.acknowledged.messages == 10
    assert "not acknowledged" in str(bench.health.last_error)


async def test_what_the_server_does_not_take_is_replaced(bench: Bench) -> None:
    limits = []

    async def shorten(message: Outgoing, limit: int) -> Outgoing:
        limits.append(limit)
        return Outgoing(message.id, message.subject, "marker", b"")

    publisher = await bench.publisher(replace=shorten, window_bytes=1 << 30)
    one, large, other = trades(3)
    large.payload = b"x" * (publisher.max_payload + 1)
    async with running(publisher):
        await publisher.send([one, large, other])
        await publisher.drained()
    assert await bench.stored() == names(3)
    assert limits == [publisher.max_payload]
    assert bench.published.labels("marker")._value.get() == 1
