"""StreamPublisher alone: a second publisher with an old view of the stream can store nothing."""

import asyncio
from typing import Any

import pytest
from nats.aio.client import Client

from ssmd_cdc.encode.envelope import Envelope
from ssmd_cdc.epoch import Stream
from ssmd_cdc.errors import Fenced, StreamChanged, StreamRefused
from ssmd_cdc.metrics import MESSAGES
from ssmd_cdc.publish.stream import Streams, differences, stream_configuration
from ssmd_cdc.publish.stream_publisher import StreamPublisher
from ssmd_cdc.settings import CdcSettings
from ssmd_common.health import Health
from ssmd_stream import subjects
from ssmd_stream.change import Position


def made(
    client: Client, streams: Streams, settings: CdcSettings, before: Stream
) -> StreamPublisher:
    """At the start of epoch 1, in a stream as it was `before`."""
    return StreamPublisher(
        client,
        streams,
        settings,
        Health("cdc"),
        epoch=1,
        stream=before,
        position=Position(1, 0, 0),
        on_acknowledged=lambda _: None,
    )


async def test_a_stale_publisher_stores_nothing(
    bench: Any, atomic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the batches the smallest ones, so that the few messages here are such.
    settings = bench.settings(cdc_durable=atomic)
    counted = MESSAGES.labels("series", "truncate")._value
    counted_before = counted.get()
    async with bench.client() as client:
        streams = Streams(client, settings)
        await streams.ensure()
        before = await streams.look()
        first, second = (made(client, streams, settings, before) for _ in range(2))
        running = asyncio.create_task(first.run())
        envelope = Envelope(1, 100, 1, "2026-02-03T00:00:00.000000Z")
        for _ in range(20):
            await first.send([envelope.truncate("series")])
        await first.drained()
        assert first.acknowledged_sequence == 20
        assert first.acknowledged_position == Position(1, 100, 19)

        # It looked before the first wrote, so that only the chain can stop it.
        look, views = streams.look, [before]

        async def look_late() -> Stream:
            return views.pop() if views else await look()

        monkeypatch.setattr(streams, "look", look_late)
        late = Envelope(1, 200, 2, "2026-02-03T00:00:00.000000Z")
        for _ in range(20):
            await second.send([late.truncate("series")])
        with pytest.raises(Fenced):
            async with asyncio.timeout(30):
                await second.run()
        assert not views
        assert (await streams.look()).last_sequence == 20
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        # What was acknowledged last is counted, too.
        assert counted.get() == counted_before + 20


@pytest.mark.parametrize("deleted", ["all", "last"])
async def test_what_was_deleted_before_it_was_seen_is_nobody_elses_doing(
    bench: Any, deleted: str
) -> None:
    """Of the messages in flight the stream had all, and has some or none of them any more."""
    settings = bench.settings()
    async with bench.client() as client:
        streams = Streams(client, settings)
        await streams.ensure()
        before = await streams.look()
        first, second = (made(client, streams, settings, before) for _ in range(2))
        running = asyncio.create_task(first.run())
        for each in first, second:
            envelope = Envelope(1, 100, 1, "2026-02-03T00:00:00.000000Z")
            for _ in range(3):
                await each.send([envelope.truncate("series")])
        await first.drained()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if deleted == "all":
            await client.jetstream().purge_stream(subjects.STREAM)
        else:
            await client.jetstream().delete_msg(subjects.STREAM, 3)
        with pytest.raises(StreamChanged, match="deleted or aged out"):
            async with asyncio.timeout(30):
                await second.run()


async def test_an_old_server_is_refused_with_a_sentence(bench: Any) -> None:
    class Old:
        class connected_server_version:  # noqa: N801
            major, minor = 2, 9

    with pytest.raises(StreamRefused, match=r"2\.9"):
        await Streams(Old(), bench.settings()).ensure()  # type: ignore[arg-type]
    Old.connected_server_version.minor = 11
    with pytest.raises(StreamRefused, match="CDC_DURABLE"):
        await Streams(Old(), bench.settings(cdc_durable=True)).ensure()  # type: ignore[arg-type]


async def test_the_streams_may_keep_less_than_before(bench: Any) -> None:
    async with bench.client() as client:
        js = client.jetstream()
        for seconds in (0, 7 * 86400, 60, 0):
            await Streams(client, bench.settings(cdc_stream_max_age_seconds=seconds)).ensure()
            for name in (subjects.STREAM, subjects.DEAD_LETTER_STREAM):
                assert (await js.stream_info(name)).config.max_age == seconds


def test_differences_of_a_configuration(bench: Any) -> None:
    wanted = stream_configuration(bench.settings(cdc_republish="a.b"))
    assert differences({**wanted, "more": 1}, wanted) == set()
    assert differences({**wanted, "max_age": 1}, wanted) == {"max_age"}
    assert differences({**wanted, "republish": None}, wanted) == {"republish"}
    # A server that does not know a setting leaves it out in silence.
    del wanted["compression"]
    assert differences(wanted, stream_configuration(bench.settings(cdc_republish="a.b"))) == {
        "compression"
    }
