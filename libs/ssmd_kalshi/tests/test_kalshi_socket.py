"""The WebSocket client against a server that misbehaves on demand."""

import asyncio
import json
import socket as socketlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import ed25519
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection as ThreadedConnection
from websockets.sync.server import serve as threaded_serve

from ssmd_kalshi.errors import ConfigurationError, HandshakeRefusedError, SubscribeRefusedError
from ssmd_kalshi.feed import Connected, Disconnected, Gap, GapReason, Message, Subscribed
from ssmd_kalshi.retry import RetryPolicy
from ssmd_kalshi.signing import Signer
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy

CHANNEL = "market_lifecycle_v2"
POLICY = SocketPolicy(
    silence_seconds=30,
    reconnect=RetryPolicy(base_seconds=0.001, cap_seconds=0.01),
)

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's side of one connection."""

    def __init__(self, connection: ServerConnection, number: int) -> None:
        self.connection = connection
        self.number = number

    async def expect_subscribe(self) -> dict[str, Any]:
        command = json.loads(await self.connection.recv())
        assert command["cmd"] == "subscribe"
        return command

    async def confirm(self, sid: int = 1) -> dict[str, Any]:
        command = await self.expect_subscribe()
        [channel] = command["params"]["channels"]
        await self.send(
            {"id": command["id"], "type": "subscribed", "msg": {"channel": channel, "sid": sid}}
        )
        return command

    async def send(self, frame: object) -> None:
        await self.connection.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    async def message(self, seq: int | None, sid: int = 1, **msg: object) -> None:
        frame = {"type": CHANNEL, "sid": sid, "msg": {"n": seq, **msg}}
        await self.send(frame if seq is None else {**frame, "seq": seq})

    async def stay(self) -> None:
        await self.connection.wait_closed()


@dataclass
class Server:
    url: str = ""
    scripts: list[Script] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    served: int = 0
    handshake_seconds: float = 0
    leave: asyncio.Event = field(default_factory=asyncio.Event)

    async def refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.leave.wait(), self.handshake_seconds)
        if self.refusals:
            return connection.respond(HTTPStatus(self.refusals.pop(0)), "no\n")
        return None

    async def handle(self, connection: ServerConnection) -> None:
        number, self.served = self.served, self.served + 1
        peer = Peer(connection, number)
        script = self.scripts[min(number, len(self.scripts) - 1)]
        try:
            await script(peer)
        except Exception as error:
            if not connection.close_code and type(error).__name__ != "ConnectionClosedOK":
                self.failures.append(error)


@asynccontextmanager
async def serving(*scripts: Script) -> AsyncIterator[Server]:
    server = Server(scripts=list(scripts))
    async with serve(
        server.handle,
        "127.0.0.1",
        0,
        ping_interval=None,
        process_request=server.refuse,
        close_timeout=0.1,
    ) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}/trade-api/ws/v2"
        yield server
    assert server.failures == []


async def take(socket: KalshiSocket, count: int) -> list[Any]:
    async with asyncio.timeout(180):
        return [await anext(socket) for _ in range(count)]


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_connect_subscribe_gap_messages() -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm(sid=13)
        await peer.send(
            {
                "type": CHANNEL,
                "sid": 13,
                "seq": 1,
                "sending_ts_ms": 1_700_000_000_123,
                "msg": {"event_type": "created", "market_ticker": "M"},
            }
        )
        await peer.stay()

    async with serving(script) as server, KalshiSocket(server.url, channels=[CHANNEL]) as socket:
        assert not socket.subscribed
        connected, subscribed, gap, message = await take(socket, 4)
        assert isinstance(connected, Connected)
        assert isinstance(subscribed, Subscribed)
        assert (subscribed.channel, subscribed.sid) == (CHANNEL, 13)
        assert isinstance(gap, Gap)
        assert (gap.since, gap.reason) == (None, GapReason.START)
        assert gap.until == subscribed.at >= connected.at
        assert isinstance(message, Message)
        assert (message.type, message.sid, message.seq) == (CHANNEL, 13, 1)
        assert message.msg == {"event_type": "created", "market_ticker": "M"}
        assert message.sent_at is not None
        assert message.sent_at.timestamp() == 1_700_000_000.123
        assert json.loads(message.raw)["msg"] == message.msg
        assert message.received_at >= gap.until
        assert socket.subscribed


async def test_documented_messages_arrive_whole(documented_messages: list[bytes]) -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm()
        for raw in documented_messages:
            await peer.send(raw.decode())
        await peer.stay()

    async with serving(script) as server, KalshiSocket(server.url, channels=[CHANNEL]) as socket:
        events = await take(socket, 3 + len(documented_messages))
    assert [event.raw for event in events[3:]] == documented_messages


async def test_handshake_is_signed() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    async with serving(lambda peer: peer.stay()) as server:
        async with KalshiSocket(
            server.url, channels=[CHANNEL], signer=Signer("key-id", key)
        ) as socket:
            await take(socket, 1)
        headers = server.requests[0].headers
    assert headers["KALSHI-ACCESS-KEY"] == "key-id"
    text = headers["KALSHI-ACCESS-TIMESTAMP"] + "GET/trade-api/ws/v2"
    import base64

    key.public_key().verify(base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"]), text.encode())


@pytest.mark.parametrize("abort", [False, True])
async def test_a_lost_connection_is_renewed_with_its_gap(abort: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm(sid=peer.number + 1)
        await peer.message(1, sid=peer.number + 1)
        if peer.number == 0:
            if abort:
                peer.connection.transport.abort()
            else:
                await peer.connection.close(1012, "restart")
            return
        await peer.stay()

    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL], policy=POLICY) as socket,
    ):
        events = await take(socket, 3)
        # An aborted connection may take its last message along.
        lost = await take(socket, 1)
        if isinstance(lost[0], Message):
            lost += await take(socket, 1)
        *before, gone = lost
        assert isinstance(gone, Disconnected)
        assert gone.reason is GapReason.CLOSED
        if not abort:
            assert before
            assert gone.detail == "1012 restart"
        assert not socket.subscribed
        heard_until = socket.heard_until
        connected, subscribed, gap, message = await take(socket, 4)
    assert kinds([connected, subscribed, gap, message]) == [
        "Connected",
        "Subscribed",
        "Gap",
        "Message",
    ]
    assert gap.reason is GapReason.CLOSED
    assert gap.since is not None
    assert events[2].until <= gap.since <= gone.at <= gap.until
    assert heard_until is not None
    assert heard_until >= gap.since, "nothing lies between what was heard and the gap"
    assert gap.until == subscribed.at


async def test_a_quiet_exchange_is_heard_when_it_is_asked() -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm()
        await peer.stay()

    async with (
        serving(script) as server,
        KalshiSocket(
            server.url, channels=[CHANNEL], policy=replace(POLICY, answer_seconds=60)
        ) as socket,
    ):
        await socket.ask()
        assert socket.heard_until is None, "nobody is there to be asked"
        await take(socket, 3)
        asked = datetime.now(UTC)
        assert socket.heard_until is not None
        assert socket.heard_until < asked
        await socket.ask()
        assert socket.heard_until >= asked


async def test_silence_is_a_dead_connection() -> None:
    first_gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.confirm()
        await peer.stay()
        if peer.number == 0:
            first_gone.set()

    policy = SocketPolicy(silence_seconds=0.3, reconnect=POLICY.reconnect)
    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL], policy=policy) as socket,
    ):
        events = await take(socket, 7)
        # The dead one is not left open beside its successor.
        await asyncio.wait_for(first_gone.wait(), 180)
    assert kinds(events[3:]) == ["Disconnected", "Connected", "Subscribed", "Gap"]
    assert events[3].reason is GapReason.SILENCE
    assert events[6].reason is GapReason.SILENCE
    assert events[6].since is not None
    # The interval begins when the last frame came, not when the silence was noticed.
    assert (events[3].at - events[6].since).total_seconds() >= 0.25


async def test_pings_alone_keep_it_alive_and_waiting_may_be_cancelled() -> None:
    pings = 0

    async def script(peer: Peer) -> None:
        nonlocal pings
        await peer.confirm()
        for _ in range(20):
            await (await peer.connection.ping("heartbeat"))
            pings += 1
            await asyncio.sleep(0.1)
        await peer.message(1)
        await peer.stay()

    policy = SocketPolicy(silence_seconds=1.5, reconnect=POLICY.reconnect)
    async with serving(script) as server:
        async with KalshiSocket(server.url, channels=[CHANNEL], policy=policy) as socket:
            events = await take(socket, 3)
            while True:
                try:
                    events.append(await asyncio.wait_for(anext(socket), 0.05))
                except TimeoutError:
                    continue
                break
        assert server.served == 1
    assert isinstance(events[-1], Message)
    assert pings == 20


def test_what_this_process_was_late_is_not_the_exchanges_silence() -> None:
    """As on a busy node: the exchange sends all the time, and uvloop's timers come first."""
    ready, stands = threading.Event(), threading.Event()

    def handle(connection: ThreadedConnection) -> None:
        command = json.loads(connection.recv())
        connection.send(json.dumps({"id": command["id"], "type": "subscribed", "msg": {"sid": 1}}))
        ready.wait(60)
        stands.wait(60)
        connection.send(json.dumps({"type": CHANNEL, "sid": 1, "seq": 1, "msg": {"n": 1}}))
        connection.recv(60)

    async def consume(url: str) -> list[Any]:
        def stand() -> None:
            ours.recv(1)
            stands.set()
            time.sleep(1.0)

        ours, theirs = socketlib.socketpair()
        policy = SocketPolicy(silence_seconds=0.5, reconnect=POLICY.reconnect)
        async with KalshiSocket(url, channels=[CHANNEL], policy=policy) as socket:
            events = await take(socket, 3)
            ready.set()
            loop = asyncio.get_running_loop()
            loop.add_reader(ours, stand)
            theirs.send(b"x")
            events += await take(socket, 1)
            loop.remove_reader(ours)
        ours.close()
        theirs.close()
        return events

    with (
        threaded_serve(handle, "127.0.0.1", 0, ping_interval=None) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        events = runner.run(consume(f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"))
        server.shutdown()
    assert kinds(events) == ["Connected", "Subscribed", "Gap", "Message"]


async def test_waiting_in_slices_does_not_hide_the_silence() -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm()
        await peer.stay()

    policy = SocketPolicy(silence_seconds=0.3, reconnect=POLICY.reconnect)
    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL], policy=policy) as socket,
    ):
        await take(socket, 3)
        async with asyncio.timeout(180):
            while True:
                try:
                    event = await asyncio.wait_for(anext(socket), 0.02)
                except TimeoutError:
                    continue
                break
    assert isinstance(event, Disconnected)
    assert event.reason is GapReason.SILENCE


async def test_waiting_in_slices_shorter_than_a_handshake_connects() -> None:
    async with (
        serving(lambda peer: peer.stay()) as server,
        KalshiSocket(server.url, channels=[CHANNEL]) as socket,
    ):
        server.handshake_seconds = 0.5
        slices = 0
        async with asyncio.timeout(180):
            while True:
                try:
                    event = await asyncio.wait_for(anext(socket), 0.02)
                except TimeoutError:
                    slices += 1
                    continue
                break
        assert isinstance(event, Connected)
        assert slices > 5
        assert len(server.requests) == 1


async def test_leaving_during_the_handshake() -> None:
    policy = SocketPolicy(connect_seconds=3600)
    async with serving(lambda peer: peer.stay()) as server:
        server.handshake_seconds = 3600
        async with KalshiSocket(server.url, channels=[CHANNEL], policy=policy) as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(socket), 0.1)
        server.leave.set()
    assert [t for t in asyncio.all_tasks() if t.get_name() == "websocket handshake"] == []


async def test_a_missing_number_is_a_gap_before_its_message() -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm()
        for seq in (1, 2, 5, 5, 4, 6):
            await peer.message(seq)
        await peer.stay()

    async with serving(script) as server, KalshiSocket(server.url, channels=[CHANNEL]) as socket:
        events = await take(socket, 10)
    assert kinds(events[3:]) == ["Message", "Message", "Gap", *["Message"] * 4]
    gap = events[5]
    assert gap.reason is GapReason.SEQUENCE
    assert gap.detail == "expected 3, got 5"
    assert gap.since == events[4].received_at
    assert gap.until == events[6].received_at
    assert [e.seq for e in events if isinstance(e, Message)] == [1, 2, 5, 5, 4, 6]


@pytest.mark.parametrize("code", [10, 17, 25])
@pytest.mark.parametrize("with_sid", [True, False])
async def test_terminal_errors_subscribe_again(code: int, with_sid: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm(sid=1)
        await peer.message(1)
        await peer.send(
            {"type": "error", "msg": {"code": code, "msg": "x"}, **({"sid": 1} if with_sid else {})}
        )
        await peer.confirm(sid=2)
        await peer.message(1, sid=2)
        await peer.stay()

    async with serving(script) as server:
        async with KalshiSocket(server.url, channels=[CHANNEL]) as socket:
            events = await take(socket, 8)
        assert server.served == 1
    assert kinds(events[3:]) == ["Message", "Ended", "Subscribed", "Gap", "Message"]
    assert (events[4].code, events[4].sid, events[5].sid) == (code, 1, 2)
    assert events[6].reason is GapReason.TERMINAL_ERROR
    assert str(code) in events[6].detail
    assert events[6].since == events[3].received_at


async def test_an_unasked_unsubscribe_subscribes_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm(sid=1)
        await peer.send({"type": "unsubscribed", "sid": 1})
        await peer.confirm(sid=2)
        await peer.stay()

    async with serving(script) as server, KalshiSocket(server.url, channels=[CHANNEL]) as socket:
        events = await take(socket, 6)
    assert events[5].reason is GapReason.TERMINAL_ERROR


async def test_two_channels_keep_their_own_books() -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm(sid=1)
        await peer.confirm(sid=2)
        await peer.message(1, sid=1)
        await peer.message(1, sid=2)
        await peer.message(2, sid=1)
        await peer.send({"type": "error", "sid": 2, "msg": {"code": 25}})
        await peer.message(3, sid=1)
        await peer.confirm(sid=3)
        await peer.stay()

    other = "multivariate_market_lifecycle"
    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL, other, CHANNEL]) as socket,
    ):
        events = await take(socket, 12)
    gaps = [event for event in events if isinstance(event, Gap)]
    assert [(gap.channel, gap.reason) for gap in gaps] == [
        (CHANNEL, GapReason.START),
        (other, GapReason.START),
        (other, GapReason.TERMINAL_ERROR),
    ]


@pytest.mark.parametrize("code", [8, 9, 11])
async def test_a_refused_channel_is_an_error(code: int) -> None:
    async def script(peer: Peer) -> None:
        command = await peer.expect_subscribe()
        await peer.send(
            {"id": command["id"], "type": "error", "msg": {"code": code, "msg": "no such thing"}}
        )
        await peer.stay()

    async with serving(script) as server, KalshiSocket(server.url, channels=["nope"]) as socket:
        await take(socket, 1)
        with pytest.raises(SubscribeRefusedError, match=r"nope .*no such thing") as caught:
            await take(socket, 1)
    assert caught.value.code == code


@pytest.mark.parametrize("code", [1, 6, 17, 18, 27])
async def test_a_subscription_that_fails_for_now_is_tried_again(code: int) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            command = await peer.expect_subscribe()
            await peer.send({"id": command["id"], "type": "error", "msg": {"code": code}})
        else:
            await peer.confirm()
        await peer.stay()

    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL], policy=POLICY) as socket,
    ):
        events = await take(socket, 5)
    assert kinds(events) == ["Connected", "Disconnected", "Connected", "Subscribed", "Gap"]
    assert str(code) in events[1].detail
    assert events[4].reason is GapReason.START


async def test_an_unanswered_subscription_is_given_up() -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.expect_subscribe()
        else:
            await peer.confirm()
        await peer.stay()

    policy = SocketPolicy(subscribe_seconds=0.2, reconnect=POLICY.reconnect)
    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL], policy=policy) as socket,
    ):
        events = await take(socket, 4)
    assert kinds(events) == ["Connected", "Disconnected", "Connected", "Subscribed"]
    assert "not confirmed" in events[1].detail


@pytest.mark.parametrize(
    "frame", ["not json", '{"type":7}', '{"type":"market_lifecycle_v2","sid":1}', b"\xff\x00"]
)
async def test_an_unreadable_frame_is_a_gap_and_no_end(frame: str | bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm()
        await peer.send(frame)
        await peer.message(1)
        await peer.stay()

    async with serving(script) as server:
        async with KalshiSocket(server.url, channels=[CHANNEL]) as socket:
            events = await take(socket, 6)
        assert server.served == 1
    assert kinds(events[3:]) == ["Unreadable", "Gap", "Message"]
    assert events[3].raw == (frame if isinstance(frame, bytes) else frame.encode())
    assert events[4].reason is GapReason.UNREADABLE


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_handshake_is_an_error(status: int) -> None:
    async with serving(lambda peer: peer.stay()) as server:
        server.refusals = [status]
        async with KalshiSocket(server.url, channels=[CHANNEL]) as socket:
            with pytest.raises(HandshakeRefusedError, match="KALSHI_API_KEY"):
                await take(socket, 1)


async def test_a_handshake_that_fails_for_now_is_tried_again() -> None:
    async with serving(lambda peer: peer.stay()) as server:
        server.refusals = [503, 429, 502]
        async with KalshiSocket(server.url, channels=[CHANNEL], policy=POLICY) as socket:
            events = await take(socket, 4)
    assert kinds(events) == [*["Disconnected"] * 3, "Connected"]
    assert [event.attempt for event in events[:3]] == [1, 2, 3]
    assert "503" in events[0].detail


async def test_nobody_there_is_tried_again() -> None:
    async with KalshiSocket(
        "ws://127.0.0.1:1/trade-api/ws/v2", channels=[CHANNEL], policy=POLICY
    ) as socket:
        events = await take(socket, 3)
    assert kinds(events) == ["Disconnected"] * 3


async def test_the_pause_grows_with_failures() -> None:
    socket = KalshiSocket("ws://127.0.0.1:1/", channels=[CHANNEL], chance=lambda: 0.0)
    delays = []
    loop = asyncio.get_running_loop()
    for _ in range(8):
        socket._wait_after_failure()
        delays.append(socket._connect_at - loop.time())
    assert delays == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30], abs=0.5)


FOR_EVER = RetryPolicy(base_seconds=3600, cap_seconds=3600)
SERVED = replace(POLICY, stable_seconds=0.05, again_seconds=0.01, reconnect=FOR_EVER)


async def test_who_was_served_is_back_at_once() -> None:
    """However often the exchange closes: with a code, or without a word."""
    subscribed, heard = ([asyncio.Event() for _ in range(5)] for _ in range(2))

    async def script(peer: Peer) -> None:
        await peer.confirm()
        await subscribed[peer.number].wait()
        # So long after the subscription, by anybody's clock.
        await asyncio.sleep(0.1)
        await peer.message(1)
        await heard[peer.number].wait()
        if peer.number % 2:
            peer.connection.transport.abort()
        else:
            await peer.connection.close(1001, "going away")

    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL], policy=SERVED, chance=lambda: 0.0) as socket,
    ):
        for number in range(5):
            events = await take(socket, 3)
            subscribed[number].set()
            events += await take(socket, 1)
            heard[number].set()
            events += await take(socket, 1)
            assert kinds(events) == ["Connected", "Subscribed", "Gap", "Message", "Disconnected"]
    assert server.served == 5


@pytest.mark.parametrize("confirms", [True, False])
async def test_who_was_not_served_waits(confirms: bool) -> None:
    """Also who was subscribed, and lost the connection before anything came."""

    async def script(peer: Peer) -> None:
        if confirms:
            await peer.confirm()
        else:
            # It says something for long enough.
            await peer.message(1)
            await asyncio.sleep(0.2)
            await peer.message(2)
        await peer.connection.close(1001, "going away")

    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL], policy=SERVED) as socket,
    ):
        while not isinstance((await take(socket, 1))[0], Disconnected):
            pass
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(socket)
    assert server.served == 1


async def test_refusals_are_counted_from_the_last_connection_that_served() -> None:
    told = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.confirm()
        if peer.number == 0:
            await told.wait()
            await asyncio.sleep(0.1)
            server.refusals = [503, 429]
            await peer.connection.close(1001, "going away")
        else:
            await peer.stay()

    async with (
        serving(script) as server,
        KalshiSocket(
            server.url, channels=[CHANNEL], policy=replace(SERVED, reconnect=POLICY.reconnect)
        ) as socket,
    ):
        server.refusals = [502]
        [refused] = await take(socket, 1)
        await take(socket, 3)
        told.set()
        lost, *again = await take(socket, 4)
    assert (refused.attempt, lost.attempt) == (1, 0)
    assert kinds(again) == ["Disconnected", "Disconnected", "Connected"]
    assert [event.attempt for event in again[:2]] == [1, 2]


async def test_a_slow_consumer_loses_nothing_and_buffers_little() -> None:
    count = 20_000
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.confirm()
        for seq in range(1, count + 1):
            await peer.message(seq, padding="x" * 500)
            sent = seq
        await peer.stay()

    policy = SocketPolicy(max_frames=64, reconnect=POLICY.reconnect)
    async with serving(script) as server:
        async with KalshiSocket(server.url, channels=[CHANNEL], policy=policy) as socket:
            await take(socket, 3)
            # While nobody reads, the server must come to a halt by itself.
            previous = -1
            while previous != sent:
                previous = sent
                await asyncio.sleep(0.3)
            assert sent < count
            assert socket._connection is not None
            assert len(socket._connection.recv_messages.frames) < 5000
            async with asyncio.timeout(180):
                for seq in range(1, count + 1):
                    event = await anext(socket)
                    assert isinstance(event, Message)
                    assert event.seq == seq
        assert server.served == 1


async def test_a_consumer_slower_than_the_silence_is_not_taken_for_a_dead_peer() -> None:
    count = 3000

    async def script(peer: Peer) -> None:
        await peer.confirm()
        for seq in range(1, count + 1):
            await peer.message(seq, padding="x" * 5000)
        while True:
            await (await peer.connection.ping("heartbeat"))
            await asyncio.sleep(0.1)

    policy = SocketPolicy(max_frames=64, silence_seconds=2.0, reconnect=POLICY.reconnect)
    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL], policy=policy) as socket,
    ):
        await take(socket, 3)
        # Reading from the network stops meanwhile: nothing arrives for longer than the silence.
        await asyncio.sleep(3)
        async with asyncio.timeout(180):
            for seq in range(1, count + 1):
                event = await anext(socket)
                assert isinstance(event, Message), event
                assert event.seq == seq
        assert server.served == 1


async def test_numbers_begin_anew_with_each_subscription() -> None:
    async def script(peer: Peer) -> None:
        await peer.confirm()
        if peer.number == 0:
            await peer.message(50)
            await peer.connection.close()
            return
        await peer.message(1)
        await peer.message(3)
        await peer.stay()

    async with (
        serving(script) as server,
        KalshiSocket(server.url, channels=[CHANNEL], policy=POLICY) as socket,
    ):
        events = await take(socket, 12)
    assert kinds(events[9:]) == ["Message", "Gap", "Message"]
    assert events[10].detail == "expected 2, got 3"


async def test_leaving_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.confirm()
        await peer.stay()
        closed.set()

    async with serving(script) as server:
        async with KalshiSocket(server.url, channels=[CHANNEL]) as socket:
            await take(socket, 3)
        await asyncio.wait_for(closed.wait(), 180)
        with pytest.raises(StopAsyncIteration):
            await anext(socket)


async def test_cancelling_the_consumer_leaves_nothing_behind() -> None:
    closed = asyncio.Event()
    subscribed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.confirm()
        await peer.stay()
        closed.set()

    async def consume(url: str) -> None:
        async with KalshiSocket(url, channels=[CHANNEL]) as socket:
            async for event in socket:
                if isinstance(event, Gap):
                    subscribed.set()

    async with serving(script) as server:
        task = asyncio.create_task(consume(server.url))
        await asyncio.wait_for(subscribed.wait(), 180)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 180)


@pytest.mark.parametrize("url", ["", "http://h/", "ws://", "wss:///path"])
def test_url_is_checked_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="KALSHI_WS_URL"):
        KalshiSocket(url, channels=[CHANNEL])


def test_a_socket_without_channels_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError):
        KalshiSocket("ws://h/", channels=[])
