"""Many follow /v1/changes through one reader: nothing missing, nothing twice, nobody in the way."""

import asyncio
import gc
import json
import socket
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from api_stream import listening, publish, take
from api_testbed import Client, Serve, make_key
from nats.js.client import JetStreamContext

from ssmd_api.follower import Follower
from ssmd_api.metrics import READERS_CUT_OFF
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stream import subjects

pytestmark = pytest.mark.usefixtures("universe")


def sequences(events: list[dict[str, str]]) -> list[int]:
    return [int(event["id"].partition("@")[0]) for event in events]


async def until(happened: Any) -> None:
    async with asyncio.timeout(180):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def followers(series: str) -> list[Follower]:
    """Those that still exist and follow such series."""
    gc.collect()
    found = [thing for thing in gc.get_objects() if isinstance(thing, Follower)]
    return [f for f in found if (f.channel.wanted.series or "").startswith(series)]


async def test_one_reader_of_the_stream_serves_all(streaming: Client, js: JetStreamContext) -> None:
    queries = ["", "?series=S1", "?series=S1&table=series", "?table=series", "?type=x"]
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(listening(streaming, query)) for query in queries * 4
        ]
        assert len(await js.consumers_info(subjects.STREAM)) == 1
        # Of the same filters there is one, whatever their order.
        assert len(streaming.context.feed.hub._channels) == len(queries)
        for number in range(3):
            await publish(js, "series", {"ticker": f"S{number}"})
        for query, events in zip(queries * 4, readers, strict=True):
            expected = [2] if "S1" in query else [1, 2, 3]
            assert sequences(await take(events, len(expected))) == expected
    await until(lambda: not streaming.context.feed.hub._channels)
    assert streaming.context.feed.hub._index._root.is_empty


async def test_who_comes_while_messages_do_misses_none_and_gets_none_twice(
    streaming: Client, js: JetStreamContext
) -> None:
    """From the stream's beginning by a consumer of their own, then from what all have."""
    most = 600

    async def read(query: str) -> list[int]:
        async with listening(streaming, query) as events:
            return sequences(await take(events, most if query == "?after=0" else most // 2))

    for number in range(most // 2):
        await publish(js, "series", {"ticker": f"S{number % 2}"})
    async with asyncio.TaskGroup() as group:
        readers: list[tuple[str, asyncio.Task[list[int]]]] = []
        for number in range(most // 2):
            await publish(js, "series", {"ticker": f"S{number % 2}"})
            if number % 40 == 0:
                readers += [
                    (query, group.create_task(read(query)))
                    for query in ("?after=0", "?after=0&series=S1", "?after=300")
                ]
    for query, reader in readers:
        expected = {
            "?after=0": range(1, most + 1),
            "?after=0&series=S1": range(2, most + 1, 2),
            "?after=300": range(301, most + 1),
        }
        assert reader.result() == list(expected[query]), query


async def test_a_reader_that_was_sent_nothing_comes_again_to_where_it_was(
    streaming: Client, js: JetStreamContext
) -> None:
    await publish(js, "series", {"ticker": "BEFORE"})
    headers = {"X-API-Key": streaming.key}
    async with streaming.http.get(
        f"{streaming.base}/v1/changes?table=fees", headers=headers
    ) as reply:
        lines = [await reply.content.readline() for _ in range(3)]
    assert lines[0].startswith(b"retry: ")
    assert 1000 <= int(lines[0][7:]) <= 3000
    assert lines[2].startswith(b"id: 1@")
    await publish(js, "fees", {"tier": "missed"})
    again = {"Last-Event-ID": lines[2][4:].decode().strip()}
    async with listening(streaming, "?table=fees", **again) as events:
        (event,) = await take(events, 1)
    assert json.loads(event["data"])["data"] == {"tier": "missed"}


async def test_before_the_first_message_there_is_an_id_too(
    streaming: Client, js: JetStreamContext
) -> None:
    await publish(js, "series", {"ticker": "A"})
    async with listening(streaming, **{"Last-Event-ID": "0@-"}) as events:
        assert sequences(await take(events, 1)) == [1]


class Slow:
    """A client that reads nothing, over a socket that holds little."""

    def __init__(self, api: Client, query: str = "", version: str = "1.1") -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        port = int(api.base.rpartition(":")[2])
        self._socket.connect(("127.0.0.1", port))
        self._socket.sendall(
            f"GET /v1/changes{query} HTTP/{version}\r\n"
            f"Host: x\r\nX-API-Key: {api.key}\r\n\r\n".encode()
        )
        self._socket.setblocking(False)

    async def rest(self) -> bytes:
        """Everything that comes until the connection ends."""
        loop, found = asyncio.get_running_loop(), b""
        try:
            async with asyncio.timeout(180):
                while part := await loop.sock_recv(self._socket, 1 << 16):
                    found += part
        except ConnectionError:
            pass
        self._socket.close()
        return found

    async def read(self, until: bytes) -> bytes:
        loop, found = asyncio.get_running_loop(), b""
        async with asyncio.timeout(180):
            while until not in found:
                found += await loop.sock_recv(self._socket, 1 << 16)
        return found

    def close(self) -> None:
        self._socket.close()


async def test_a_slow_reader_is_cut_off_and_comes_again_with_its_id(
    streaming: Client, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is in nobody's way meanwhile; what was not sent to it costs no memory."""
    hub = streaming.context.feed.hub
    monkeypatch.setattr(hub.ring, "most_bytes", 1 << 20)
    cut_off = READERS_CUT_OFF._value.get()
    slow = Slow(streaming)
    await until(lambda: hub.has_followers)
    (follower,) = hub._followers()
    total = 0
    async with listening(streaming) as events:
        while READERS_CUT_OFF._value.get() == cut_off:
            total += 1
            assert total < 1000
            await publish(js, "series", {"ticker": f"S{total}", "title": "x" * 50_000})
            assert sequences(await take(events, 1)) == [total]
            assert hub.ring._bytes < 2 << 20
            assert follower.transport.get_write_buffer_size() < 1 << 20
    got = await slow.rest()
    ids = [line for line in got.split(b"\n\n")[:-1] if b"\nid: " in line or line.startswith(b"id:")]
    last = [line for part in ids for line in part.split(b"\n") if line.startswith(b"id: ")][-1]
    sequence, _, _ = last[4:].partition(b"@")
    assert 0 < int(sequence) < total
    async with listening(streaming, **{"Last-Event-ID": last[4:].decode()}) as events:
        missing = list(range(int(sequence) + 1, total + 1))
        assert sequences(await take(events, len(missing))) == missing


async def test_a_reader_that_speaks_http_1_0_gets_no_chunks(
    streaming: Client, js: JetStreamContext
) -> None:
    reader = Slow(streaming, version="1.0")
    await until(lambda: streaming.context.feed.hub.has_followers)
    await publish(js, "series", {"ticker": "A"})
    found = await reader.read(b'"A"')
    reader.close()
    body = found.partition(b"\r\n\r\n")[2]
    assert b"\r\n" not in body
    assert body.count(b"\ndata: {") == 1


async def test_head_takes_no_place(streaming: Client, js: JetStreamContext) -> None:
    reply = await streaming.ask("HEAD", "/v1/changes")
    assert (reply.status, reply.body) == (200, b"")
    assert not streaming.context.feed.hub.has_followers


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_key_that_ends_takes_its_streams_with_it_busy_or_idle(
    serve: Serve, nats_server: NatsServer, js: JetStreamContext, database: Database, how: str
) -> None:
    """Wherever it was revoked; those of other keys go on, and who takes nothing ends, too."""
    async with serve(nats_url=nats_server.url, api_key_memory_seconds=0.5) as api:
        expires_at = datetime.now(UTC) + timedelta(seconds=2) if how == "expired" else None
        good, api.key = api.key, await make_key(database, "read", expires_at=expires_at)
        slow = Slow(api, "?after=0")
        async with (
            listening(api) as busy,
            listening(api, "?table=fees") as idle,
            listening(api, **{"X-API-Key": good}) as other,
        ):
            publishing = asyncio.create_task(keep_publishing(js))
            await take(busy, 3)
            if how == "revoked":
                async with database.connect() as connection:
                    await connection.execute(
                        "UPDATE api_keys SET revoked_at = now()"
                        " WHERE id = (SELECT max(id) FROM api_keys)"
                    )
            async with asyncio.timeout(180):
                async for _ in busy:
                    pass
                async for _ in idle:
                    pass
            await slow.rest()
            await take(other, 3)
            publishing.cancel()
        assert (await api.get("/v1/changes")).status == 401


async def keep_publishing(js: JetStreamContext) -> None:
    number = 0
    while True:
        number += 1
        await publish(js, "series", {"ticker": f"S{number}", "title": "x" * 20_000})


async def test_a_key_revoked_here_ends_its_streams_at_once(
    serve: Serve, nats_server: NatsServer, js: JetStreamContext
) -> None:
    async with serve(nats_url=nats_server.url, api_key_memory_seconds=300) as api:
        made = (await api.ask("POST", "/v1/keys", json={"name": "bot"})).json
        async with listening(api, **{"X-API-Key": made["key"]}) as events:
            assert (await api.ask("DELETE", f"/v1/keys/{made['id']}")).status == 204
            async with asyncio.timeout(180):
                async for _ in events:
                    pass


async def test_one_key_does_not_take_all_places(
    serve: Serve, nats_server: NatsServer, js: JetStreamContext, database: Database
) -> None:
    async with serve(nats_url=nats_server.url, api_streams=3) as api, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(listening(api))
        reply = await api.get("/v1/changes")
        assert (reply.status, reply.json["title"]) == (429, "Too many streams")
        other = await make_key(database, "read")
        await stack.enter_async_context(listening(api, **{"X-API-Key": other}))


async def test_when_readers_have_left_nothing_is_kept_for_them(
    serve: Serve, nats_server: NatsServer, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[int] = []
    monkeypatch.setattr("ssmd_api.hub.LINGER_SECONDS", 0.5)
    monkeypatch.setattr("ssmd_api.hub.LOOK_SECONDS", 0.2)
    monkeypatch.setattr("ssmd_api.hub.MANY", 10)
    monkeypatch.setattr("ssmd_api.hub.give_back_memory", lambda: given_back.append(len(given_back)))
    async with serve(nats_url=nats_server.url) as api:
        hub = api.context.feed.hub
        async with AsyncExitStack() as stack:
            for number in range(20):
                await stack.enter_async_context(listening(api, f"?series=KEPT{number}"))
            await until(lambda: hub._most == 20)
            await publish(js, "series", {"ticker": "KEPT1"})
            await until(lambda: hub.ring._bytes)
            assert hub.ring._batches
        await until(lambda: hub._caring is not None and hub._caring.done())
        assert given_back
        assert not hub.ring._batches
        assert not hub._members
        assert hub._reading is not None
        assert hub._reading.done()
        await until(lambda: not followers("KEPT"))
        # And it begins again.
        async with listening(api) as events:
            await publish(js, "series", {"ticker": "AGAIN"})
            await take(events, 1)
