"""Frames as a peer sends them, in any pieces, against what the library would read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from ssmd_kalshi.connection import Connection
from ssmd_kalshi.wholeframes import split

MOST = 70_000

payloads = st.one_of(
    st.binary(max_size=130), st.sampled_from([125, 126, 65_535, 65_536]).map(lambda n: b"x" * n)
)
frames = st.one_of(
    st.builds(lambda data: Frame(Opcode.TEXT, data), payloads),
    st.builds(lambda data: Frame(Opcode.BINARY, data), payloads),
    st.builds(lambda data: Frame(Opcode.PING, data[:125]), payloads),
    st.builds(lambda data: Frame(Opcode.TEXT, data, fin=False), payloads),
    st.builds(lambda data: Frame(Opcode.CONT, data), payloads),
)


@given(sent=st.lists(frames, max_size=12), chance=st.randoms(use_true_random=False))
def test_frames_are_found_in_any_pieces(sent: list[Frame], chance: object) -> None:
    data = b"".join(frame.serialize(mask=False) for frame in sent)
    found: list[tuple[bytes, bool]] = []
    tail, at = b"", 0
    while at < len(data):
        size = chance.choice([1, 2, 7, 100, 30_000])  # type: ignore[attr-defined]
        piece = split(tail + data[at : at + size], MOST)
        assert not piece.is_beyond
        found += piece.frames
        tail, at = piece.tail, at + size
    assert not tail
    expected = [
        (bytes(frame.data), True)
        if frame.fin and frame.opcode in (Opcode.TEXT, Opcode.BINARY)
        else (frame.serialize(mask=False), False)
        for frame in sent
    ]
    assert found == expected


def test_what_is_too_large_or_masked_is_not_waited_for() -> None:
    whole = Frame(Opcode.TEXT, b"first").serialize(mask=False)
    large = Frame(Opcode.TEXT, b"x" * (MOST + 1)).serialize(mask=False)[:50]
    masked = Frame(Opcode.TEXT, b"x").serialize(mask=True)
    for beyond in (large, masked):
        found = split(whole + beyond, MOST)
        assert found.frames == [(b"first", True)]
        assert (found.tail, found.is_beyond) == (beyond, True)


@asynccontextmanager
async def connected(server: object, **options: int) -> AsyncIterator[Connection]:
    async with serve(server, "127.0.0.1", 0, ping_interval=None, compression=None) as running:  # type: ignore[arg-type]
        port = next(iter(running.sockets)).getsockname()[1]
        async with connect(
            f"ws://127.0.0.1:{port}", create_connection=Connection, compression=None,
            ping_interval=None, max_size=MOST,
        ) as connection:  # fmt: skip
            assert isinstance(connection, Connection)
            connection.max_frame_bytes = MOST
            for name, value in options.items():
                setattr(connection, name, value)
            yield connection


async def received(connection: Connection, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(180):
        while len(found) < count:
            await connection.arrival()
            found.append(connection.take()[0])
    return found


async def test_whole_fragmented_and_control_frames_keep_their_order() -> None:
    async def server(peer: ServerConnection) -> None:
        await peer.recv()
        for number in range(50):
            await peer.send(f"whole {number}")
            await peer.send(["in ", "parts ", str(number)])
            if number % 10 == 0:
                await (await peer.ping())
        await peer.close(4000, "done")

    async with connected(server) as connection:
        await connection.send("go")
        found = await received(connection, 100)
        expected = [text for n in range(50) for text in (f"whole {n}", f"in parts {n}")]
        assert [raw.decode() for raw in found] == expected
        with pytest.raises(ConnectionClosed) as ended:
            await connection.arrival()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 4000


async def test_a_slow_consumer_holds_the_peer_back_and_loses_nothing() -> None:
    sent = 0

    async def server(peer: ServerConnection) -> None:
        nonlocal sent
        await peer.recv()
        for number in range(3000):
            await peer.send(f"{number} " + "x" * 4000)
            sent += 1
        await peer.wait_closed()

    async with connected(server, most_frames=20) as connection:
        await connection.send("go")
        await connection.arrival()
        before = -1
        async with asyncio.timeout(180):
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
        assert sent < 3000, "TCP did not hold it back"
        found = await received(connection, 3000)
    assert [int(raw.split()[0]) for raw in found] == list(range(3000))


async def test_a_message_that_is_too_large_ends_the_connection() -> None:
    async def server(peer: ServerConnection) -> None:
        await peer.recv()
        await peer.send("small")
        await peer.send("x" * (MOST + 1))
        await peer.wait_closed()

    async with connected(server) as connection:
        await connection.send("go")
        assert await received(connection, 1) == [b"small"]
        with pytest.raises(ConnectionClosed) as ended:
            async with asyncio.timeout(180):
                await connection.arrival()
        assert ended.value.sent is not None
        assert ended.value.sent.code == 1009
