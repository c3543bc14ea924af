"""SECMASTER_CDC on the server, and what cdc's publisher adds to the one of `ssmd_stream`."""

import asyncio
from typing import Any

from ssmd_cdc.encode.envelope import Envelope
from ssmd_cdc.publish.stream import Streams, stream_configuration
from ssmd_cdc.publish.stream_publisher import StreamPublisher
from ssmd_common.health import Health
from ssmd_common.tasks import end
from ssmd_stream import subjects
from ssmd_stream.administration import differences
from ssmd_stream.change import Position


async def test_bytes_that_a_marker_stands_for_are_stored_before_it(bench: Any) -> None:
    settings = bench.settings()
    async with bench.client() as client:
        streams = Streams(client, settings)
        await streams.ensure()
        before = await streams.look()
        publisher = StreamPublisher(
            streams.changes,
            settings,
            Health("cdc"),
            created=before.created,
            last_sequence=before.last_sequence,
            position=Position(1, 7, 0),
        )
        assert publisher.acknowledged_position == Position(1, 7, 0)
        envelope = Envelope(1, 100, 1, "2026-02-03T00:00:00.000000Z")
        messages = [envelope.truncate("series") for _ in range(5)]
        messages[1].raw, messages[3].raw = b"first", b"second"
        # Nobody carries yet: the bytes are there, and no marker is.
        await publisher.send(messages)
        js = client.jetstream(timeout=60)
        kept = [await js.get_msg(subjects.DEAD_LETTER_STREAM, at) for at in (1, 2)]
        assert [message.data for message in kept] == [b"first", b"second"]
        assert [(message.headers or {})["Ssmd-Position"] for message in kept] == [
            "1:0/64:1",
            "1:0/64:3",
        ]
        assert (await streams.look()).last_sequence == 0
        assert publisher.in_flight == 5
        running = asyncio.create_task(publisher.run())
        async with asyncio.timeout(180):
            await publisher.drained()
        await end(running)
        assert publisher.acknowledged_position == Position(1, 100, 4)
        stream = await bench.stream()
        stream.assert_in_order()


async def test_the_streams_may_keep_less_than_before(bench: Any) -> None:
    async with bench.client() as client:
        js = client.jetstream(timeout=60)
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
