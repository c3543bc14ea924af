"""Reading a real stream: nothing twice, nothing out of order, nothing missing unnoticed."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.js import api
from pydantic import SecretStr

from ssmd_common.connections import nats as connections
from ssmd_common.settings import NatsSettings
from ssmd_stack.nats import NatsServer
from ssmd_stack.proxy import TcpProxy
from ssmd_stream import subjects
from ssmd_stream.change import Position
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import ReaderBroken, StreamGap, StreamMissing, StreamUnavailable
from ssmd_stream.reader import Expectations, Reader, reading
from ssmd_stream.stream import StoredMessage, Stream

PATIENCE_SECONDS = 180
A, B = "cdc.series.insert.A", "cdc.series.insert.B"
HASTY = Expectations(pull=4, heartbeat_seconds=0.5)


async def put(stream: Stream, *at: str) -> None:
    for subject in at:
        await stream.js.publish(subject, subject.encode(), headers={"Ssmd-Type": "series_added"})


async def take(reader: Reader, count: int) -> list[Delivery]:
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(taken) < count:
            taken += await reader.batch(count - len(taken), 0.5)
    return taken


async def broken(reader: Reader) -> list[Delivery]:
    """What comes until it breaks, which it does by itself."""
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            while True:
                taken += await reader.batch(100, 0.3)
        except ReaderBroken:
            return taken


@pytest.mark.parametrize("wanted", [[], [A, "cdc.series.insert.C"]], ids=["all", "some"])
async def test_everything_wanted_comes_in_order(stream: Stream, wanted: Sequence[str]) -> None:
    await put(stream, *[A, B] * 10)
    step = 2 if wanted else 1
    async with reading(stream, 3, subjects=wanted, expectations=HASTY) as reader:
        assert [d.sequence for d in await take(reader, 18 // step)] == [*range(3, 21, step)]
        await put(stream, B, A)
        (last,) = (await take(reader, 2 // step))[-1:]
    assert (last.sequence, last.subject, last.payload, last.pending) == (22, A, A.encode(), 0)
    assert last.headers["Ssmd-Type"] == "series_added"


async def test_where_a_reader_of_some_is_follows_the_stream(stream: Stream) -> None:
    """What is not for it, and is deleted, it does not miss."""
    await put(stream, A, B, B)
    async with reading(stream, 1, subjects=[A], expectations=HASTY) as reader:
        await take(reader, 1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while reader.next_sequence < 4:
                assert not await reader.batch(10, 0.5)
        assert reader.is_current
        await stream.js.purge_stream(stream.name)
        await put(stream, A)
        assert [d.sequence for d in await take(reader, 1)] == [4]


@pytest.mark.parametrize("wanted", [[], [A]], ids=["all", "some"])
async def test_what_is_deleted_before_it_comes_is_missed(
    stream: Stream, wanted: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(stream, *[A, B] * 10)
    async with reading(stream, 1, subjects=wanted, expectations=HASTY) as reader:
        await take(reader, 1)
        # Eight at most have come, and no more do while nobody takes them.
        await stream.js.purge_stream(stream.name)
        await put(stream, A)
        with pytest.raises((StreamGap, ReaderBroken)) as raised:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while reader.next_sequence < 22:
                    assert all(d.sequence < 21 for d in await reader.batch(1, 0.5))
        following = reader.next_sequence
    if isinstance(raised.value, ReaderBroken):
        with pytest.raises(StreamGap) as raised:
            async with reading(stream, following, subjects=wanted):
                pass
    assert raised.value.lost == range(following, 21)


async def test_a_message_that_was_deleted_alone_is_missed(stream: Stream) -> None:
    await put(stream, A, A, A)
    await stream.js.delete_msg(stream.name, 2)
    async with reading(stream, 1) as reader:
        assert [d.sequence for d in await broken(reader)] == [1]
    async with reading(stream, 2) as reader:
        with pytest.raises(StreamGap) as raised:
            await take(reader, 1)
    assert raised.value.lost == range(2, 3)


async def test_a_stream_that_never_held_a_message_begins_at_1(stream: Stream) -> None:
    info = await stream.info()
    assert (info.first_sequence, info.last_sequence) == (1, 0)
    async with reading(stream, info.first_sequence) as reader:
        assert reader.is_current
        await put(stream, A)
        assert [delivery.sequence for delivery in await take(reader, 1)] == [1]


async def test_a_stream_that_begins_later_or_ends_before_is_told(stream: Stream) -> None:
    with pytest.raises(StreamGap, match="ends at 0, before"):
        async with reading(stream, 5):
            pass
    await put(stream, A, A)
    await stream.js.purge_stream(stream.name)
    await put(stream, A)
    with pytest.raises(StreamGap, match="begins at 3") as raised:
        async with reading(stream, 1):
            pass
    assert raised.value.lost == range(1, 3)
    await stream.js.delete_stream(stream.name)
    with pytest.raises(StreamMissing, match="cdc creates it"):
        async with reading(stream, 1):
            pass


@pytest.mark.parametrize("how", ["the consumer", "the stream"])
@pytest.mark.parametrize("wanted", [[], [A]], ids=["all", "some"])
async def test_a_reader_whose_server_forgot_it_breaks(
    stream: Stream, how: str, wanted: Sequence[str]
) -> None:
    await put(stream, A)
    async with reading(stream, 1, subjects=wanted, expectations=HASTY) as reader:
        await take(reader, 1)
        if how == "the consumer":
            await stream.js.delete_consumer(stream.name, reader.consumer)
        else:
            await stream.js.delete_stream(stream.name)
        assert not await broken(reader)


async def test_what_a_busy_machine_takes_is_no_silence_of_the_servers(stream: Stream) -> None:
    """The time in which this process did not run, as if it was stopped, does not count."""
    hasty = Stream(stream.client, answer_seconds=0.3)
    for ask in (hasty.info(), hasty.message(1)):
        asked = asyncio.create_task(ask)
        await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251
        await asked


async def test_what_was_asked_on_a_connection_that_is_lost_is_not_waited_for(
    stream: Stream, nats_server: NatsServer
) -> None:
    """On a machine that seldom lets us look, the limit of five seconds took half a minute."""
    async with TcpProxy(nats_server.url) as proxy:
        settings = NatsSettings(nats_url=SecretStr(proxy.url))
        client = await connections.connect(settings, "test", budget_seconds=PATIENCE_SECONDS)
        try:
            patient = Stream(client, answer_seconds=10 * PATIENCE_SECONDS)
            proxy.freeze()
            asked = asyncio.create_task(patient.info())
            await asyncio.sleep(0)
            proxy.cut()
            proxy.thaw()
            async with asyncio.timeout(PATIENCE_SECONDS):
                with pytest.raises(StreamUnavailable, match="lost before it answered"):
                    await asked
                # What is asked meanwhile waits for the new connection.
                assert (await patient.info()).last_sequence == 0
        finally:
            await connections.close(client)


@pytest.mark.parametrize("told", ["4294967296:0/1:0", "1:0/1:4294967296", "-1:0/1:0", "soon", ""])
async def test_an_identity_that_no_publisher_of_ours_gives_is_none(
    stream: Stream, told: str
) -> None:
    await stream.js.publish(A, b"hello", headers={"Nats-Msg-Id": told} if told else None)
    assert await stream.position_at(1) is None
    await stream.js.publish(A, b"hello", headers={"Nats-Msg-Id": "3:0/1:7"})
    assert await stream.position_at(2) == Position(3, 1, 7)


async def test_headers_alone_can_be_read(stream: Stream) -> None:
    await put(stream, A)
    async with reading(stream, 1, headers_only=True) as reader:
        (delivery,) = await take(reader, 1)
    assert (delivery.payload, delivery.headers["Ssmd-Type"]) == (b"", "series_added")


async def test_a_consumer_with_a_name_says_how_far_its_reader_is(stream: Stream) -> None:
    await put(stream, A, A, A)
    async with reading(stream, 1, durable="one") as reader:
        await reader.acknowledge((await take(reader, 2))[-1])
        await stream.client.flush()
    async with asyncio.timeout(20):
        # The server counts acknowledgements from a queue of its own, after the answer to a flush.
        info = await stream.consumer("one")
        while info.ack_floor is None or info.ack_floor.stream_seq != 2:
            await asyncio.sleep(0.05)
            info = await stream.consumer("one")
    assert info.config.ack_policy == api.AckPolicy.ALL


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(holes=st.sets(st.integers(1, 9), max_size=5), wanted=st.integers(0, 11))
async def test_the_place_of_something_is_found_whatever_was_deleted(
    stream: Stream, holes: set[int], wanted: int
) -> None:
    """Odd messages do not tell."""
    await stream.js.delete_stream(stream.name)
    await stream.js.add_stream(name=subjects.STREAM, subjects=[subjects.SUBJECTS])
    await put(stream, *[A] * 10)
    for hole in holes:
        await stream.js.delete_msg(stream.name, hole)

    def reached(message: StoredMessage) -> bool | None:
        return None if message.sequence % 2 else message.sequence >= wanted

    found = await stream.first_where(reached)
    telling = [n for n in range(1, 11) if n not in holes and n % 2 == 0]
    assert all(n < found for n in telling if n < wanted)
    assert all(n >= found for n in telling if n >= wanted)
