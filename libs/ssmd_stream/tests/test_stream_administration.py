"""A stream on the server becomes what it has to be, or somebody is told why not."""

from typing import Any

import pytest

from ssmd_stream import subjects
from ssmd_stream.administration import (
    PUBLISHED,
    configuration,
    differences,
    ensure,
    require_server,
)
from ssmd_stream.errors import StreamMissing, StreamRefused
from ssmd_stream.stream import Stream


def wanted(max_bytes: int = 1 << 20, **more: Any) -> dict[str, Any]:
    return configuration(
        subjects.STREAM,
        "Changes.",
        subjects.SUBJECTS,
        max_age_seconds=3600,
        max_bytes=max_bytes,
        replicas=1,
        **{**PUBLISHED, **more},
    )


async def made(stream: Stream, configured: dict[str, Any]) -> dict[str, Any]:
    await ensure(stream, configured, service="connector", size="CONNECTOR_MAX_BYTES")
    return dict((await stream.info()).configuration)


async def test_a_stream_is_made_and_changed_to_what_is_wanted(stream: Stream) -> None:
    assert differences((await stream.info()).configuration, wanted()) != set()
    await stream.js.publish("cdc.series.insert.A", b"1")
    assert differences(await made(stream, wanted(max_msgs=7)), wanted(max_msgs=7)) == set()
    # A message that is there stays, and what we do not ask for.
    info = await stream.info()
    assert (info.messages, info.last_sequence) == (1, 1)
    await stream.js.delete_stream(stream.name)
    with pytest.raises(StreamMissing, match="cdc creates it when it starts"):
        await stream.info()
    assert differences(await made(stream, wanted()), wanted()) == set()


async def test_what_the_server_refuses_is_told(stream: Stream) -> None:
    with pytest.raises(StreamRefused, match="change the settings of connector"):
        await made(stream, wanted(storage="memory"))
    with pytest.raises(StreamRefused, match=r"no room for .* lower CONNECTOR_MAX_BYTES"):
        await made(stream, wanted(max_bytes=1 << 60))


async def test_the_last_message(stream: Stream) -> None:
    assert await stream.last() is None
    await stream.js.publish("cdc.series.insert.A", b"1", headers={"Nats-Msg-Id": "1:0/1:0"})
    await stream.js.publish("cdc.series.insert.B", b"", headers={"Nats-Msg-Id": "1:0/1:1"})
    last = await stream.last()
    assert last is not None
    assert last[:4] == (2, "cdc.series.insert.B", {"Nats-Msg-Id": "1:0/1:1"}, b"")
    assert last.position == (1, 1, 1)
    await stream.js.purge_stream(stream.name)
    assert await stream.last() is None


def test_an_old_server_is_refused_with_a_sentence() -> None:
    class Old:
        class connected_server_version:  # noqa: N801
            major, minor = 2, 9

    old: Any = Old()
    with pytest.raises(StreamRefused, match=r"2\.9: cdc needs 2\.10"):
        require_server(old, "cdc")
    Old.connected_server_version.minor = 11
    require_server(old, "cdc")
    with pytest.raises(StreamRefused, match="CDC_DURABLE"):
        require_server(old, "cdc", durable_setting="CDC_DURABLE")
