"""The WebSocket client: one connection that renews itself, read as an async iterator.

What a consumer may rely on: no message is dropped in silence. Whatever the client cannot vouch for
is said as a `Gap` with its interval, before the messages that follow it. The client holds no task
of its own: it works while the consumer waits for the next event. In between the library answers
pings and buffers a bounded number of frames, then TCP holds the exchange back.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from ssmd_kalshi import frames, metrics
from ssmd_kalshi.connection import Connection
from ssmd_kalshi.errors import (
    BrokenReplyError,
    ConfigurationError,
    HandshakeRefusedError,
    SubscribeRefusedError,
    excerpt,
)
from ssmd_kalshi.feed import (
    Connected,
    Disconnected,
    FeedEvent,
    Gap,
    GapReason,
    Message,
    Subscribed,
)
from ssmd_kalshi.frames import Frame
from ssmd_kalshi.retry import RetryPolicy, pause
from ssmd_kalshi.signing import Signer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SocketPolicy:
    """Deadlines, limits and the pace of reconnecting."""

    silence_seconds: float = 25.0
    """The exchange pings every 10 s; this long without ping or message is a dead connection."""
    connect_seconds: float = 15.0
    subscribe_seconds: float = 15.0
    close_seconds: float = 2.0
    stable_seconds: float = 30.0
    """A connection that lived this long ends a series of failures."""
    max_frames: int = 2048
    """Frames buffered for a slow consumer before reading from the network stops."""
    max_frame_bytes: int = 4 * 1024 * 1024
    reconnect: RetryPolicy = field(
        default_factory=lambda: RetryPolicy(base_seconds=1.0, cap_seconds=30.0)
    )


@dataclass(slots=True)
class _Channel:
    """A channel that the consumer wants, and how far it is known."""

    name: str
    sid: int | None = None
    asked: bool = False
    confirmed: bool = False
    sequence: frames.Sequence = field(default_factory=frames.Sequence)
    known_until: datetime | None = None
    """The last moment up to which nothing can be missing; None before the first subscription."""
    gap_reason: GapReason = GapReason.START
    gap_detail: str = ""


class KalshiSocket:
    """`async with KalshiSocket(url, signer=…, channels=[…]) as socket: async for event in socket`.

    One consumer. Waiting for the next event may be cancelled (a timeout, say) and asked for again;
    nothing is lost by it. The iteration ends with the context, or with an error that reconnecting
    would not cure: HandshakeRefusedError, SubscribeRefusedError.
    """

    def __init__(
        self,
        url: str,
        *,
        channels: Sequence[str],
        signer: Signer | None = None,
        policy: SocketPolicy | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ConfigurationError(
                f"KALSHI_WS_URL is {excerpt(url)}: it must be ws(s)://host/trade-api/ws/v2"
            )
        if not channels:
            raise ConfigurationError("a socket without channels would wait for ever: name one")
        self._url = url
        self._path = parts.path or "/"
        self._signer = signer
        self._policy = policy or SocketPolicy()
        self._chance = chance
        self._channels = [_Channel(name) for name in dict.fromkeys(channels)]
        self._connection: Connection | None = None
        self._events: deque[FeedEvent] = deque()
        self._commands: dict[int, tuple[_Channel, float]] = {}
        self._next_id = 1
        self._failures = 0
        self._connect_at = 0.0
        self._connected_at = 0.0
        self._closed = False
        self._dialling: asyncio.Task[Connection] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait([self._dialling])
            if not self._dialling.cancelled() and self._dialling.exception() is None:
                self._connection = self._dialling.result()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FeedEvent:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            if self._connection is None:
                await self._open()
            elif channel := next((c for c in self._channels if not c.asked), None):
                await self._subscribe(self._connection, channel)
            else:
                await self._receive(self._connection)
        return self._events.popleft()

    @property
    def subscribed(self) -> bool:
        """Whether every channel is subscribed now: half of a consumer's readiness."""
        return self._connection is not None and all(c.confirmed for c in self._channels)

    # --- connecting -------------------------------------------------------------------------------

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        if (wait := self._connect_at - loop.time()) > 0:
            await pause(wait)
        if self._dialling is None:
            self._dialling = asyncio.create_task(self._dial(), name="websocket handshake")
        # A consumer that waits in slices shorter than a handshake must not begin it anew each time.
        await asyncio.wait([self._dialling])
        dialled, self._dialling = self._dialling, None
        try:
            connection = dialled.result()
        except InvalidStatus as error:
            status = error.response.status_code
            metrics.SOCKET_CONNECTS.labels(str(status)).inc()
            if status in (401, 403):
                raise HandshakeRefusedError(
                    f"the exchange refused the WebSocket handshake with {status}: check "
                    "KALSHI_API_KEY, KALSHI_PRIVATE_KEY_PATH and this machine's clock"
                ) from error
            self._failed(f"the handshake was answered with {status}")
            return
        except (OSError, TimeoutError, WebSocketException) as error:
            metrics.SOCKET_CONNECTS.labels("unreachable").inc()
            self._failed(excerpt(str(error) or type(error).__name__, 120))
            return
        metrics.SOCKET_CONNECTS.labels("open").inc()
        now = loop.time()
        connection.arrived_at = self._connected_at = now
        self._connection = connection
        self._events.append(Connected(datetime.now(UTC)))

    async def _dial(self) -> Connection:
        connection = await connect(
            self._url,
            additional_headers=self._signer.headers("GET", self._path) if self._signer else {},
            create_connection=Connection,
            compression=None,
            proxy=None,
            open_timeout=self._policy.connect_seconds,
            close_timeout=self._policy.close_seconds,
            # Pings of our own keep a dead subscription "alive"; the exchange's tell the truth.
            ping_interval=None,
            max_size=self._policy.max_frame_bytes,
            max_queue=self._policy.max_frames,
        )
        assert isinstance(connection, Connection)
        return connection

    def _failed(self, detail: str) -> None:
        self._back_off()
        self._events.append(
            Disconnected(datetime.now(UTC), GapReason.CLOSED, detail, self._failures)
        )
        log.warning("websocket cannot be opened", attempt=self._failures, detail=detail)

    def _back_off(self) -> None:
        self._failures += 1
        delay = self._policy.reconnect.delay_seconds(self._failures, self._chance())
        self._connect_at = asyncio.get_running_loop().time() + delay

    async def _subscribe(self, connection: Connection, channel: _Channel) -> None:
        command = self._next_id
        self._next_id += 1
        channel.asked = True
        channel.sequence = frames.Sequence()
        deadline = asyncio.get_running_loop().time() + self._policy.subscribe_seconds
        self._commands[command] = (channel, deadline)
        try:
            await connection.send(frames.subscribe_command(command, channel.name).decode())
        except ConnectionClosed:
            # recv says the same, with the close code.
            return

    def _lost(
        self,
        connection: Connection,
        reason: GapReason,
        detail: str,
        known_until: datetime | None = None,
    ) -> None:
        """Give the connection up and remember from when on each channel is unknown.

        `known_until` where everything that arrived was handed to the consumer.
        """
        loop = asyncio.get_running_loop()
        # A dead peer answers no close handshake, and a cancelled close would leave the socket.
        connection.transport.abort()
        self._connection = None
        self._commands.clear()
        for channel in self._channels:
            if channel.confirmed:
                channel.known_until = known_until or channel.known_until
                channel.gap_reason, channel.gap_detail = reason, detail
            channel.asked = channel.confirmed = False
        if loop.time() - self._connected_at >= self._policy.stable_seconds:
            self._failures = 0
        self._back_off()
        self._events.append(Disconnected(datetime.now(UTC), reason, detail))
        log.warning("websocket was lost", reason=reason.value, detail=detail)

    # --- receiving --------------------------------------------------------------------------------

    async def _receive(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(self._deadline(connection)):
                raw, arrived = await connection.receive()
        except TimeoutError:
            # Pings do not wake recv, and what a slow consumer kept waiting in TCP is read only now:
            # look again whether anything came.
            if loop.time() < self._deadline(connection):
                return
            if any(deadline <= loop.time() for _, deadline in self._commands.values()):
                detail = "a subscription is not confirmed"
                self._lost(connection, GapReason.CLOSED, detail, connection.arrived_time)
            else:
                detail = f"no ping for {self._policy.silence_seconds:g} s"
                self._lost(connection, GapReason.SILENCE, detail, connection.arrived_time)
            return
        except ConnectionClosed as error:
            received = error.rcvd
            detail = f"{received.code} {received.reason}".strip() if received else "no close frame"
            self._lost(connection, GapReason.CLOSED, excerpt(detail, 120), connection.arrived_time)
            return
        self._handle(connection, raw, arrived)

    def _deadline(self, connection: Connection) -> float:
        silence = connection.arrived_at + self._policy.silence_seconds
        return min([silence, *(deadline for _, deadline in self._commands.values())])

    def _handle(self, connection: Connection, raw: bytes, now: datetime) -> None:
        try:
            frame = frames.decode_frame(raw)
            if frame.type not in _CONTROL and not isinstance(frame.msg, dict):
                raise BrokenReplyError(f"a message without a body: {excerpt(raw, 80)}")
        except BrokenReplyError as error:
            for channel in self._channels:
                if channel.confirmed:
                    self._gap(channel, now, GapReason.UNREADABLE, str(error))
            return
        match frame.type:
            case "subscribed":
                self._confirmed(frame, now)
            case "error":
                self._refused(connection, frame)
            case "unsubscribed":
                self._ended(frame, "the exchange unsubscribed it")
            case "ok":
                pass
            case _:
                self._message(frame, raw, now)

    def _confirmed(self, frame: Frame, now: datetime) -> None:
        channel, _ = self._commands.pop(frame.id or 0, (None, 0.0))
        if channel is None:
            log.warning("subscription confirmed that nobody asked for", sid=frame.subscription)
            return
        channel.confirmed = True
        channel.sid = frame.subscription
        self._events.append(Subscribed(channel.name, channel.sid, now))
        self._gap(channel, now, channel.gap_reason, channel.gap_detail)

    def _refused(self, connection: Connection, frame: Frame) -> None:
        code, said = frame.code or 0, frame.said
        channel, _ = self._commands.pop(frame.id or 0, (None, 0.0))
        if channel is not None:
            if code in frames.REFUSED_CODES:
                raise SubscribeRefusedError(channel.name, code, said)
            self._lost(
                connection, GapReason.CLOSED, f"{channel.name} is refused with code {code}: {said}"
            )
        elif code in frames.TERMINAL_CODES:
            self._ended(frame, f"code {code}: {said}")
        else:
            log.warning("websocket error", code=code, said=said)

    def _ended(self, frame: Frame, detail: str) -> None:
        """Subscribe again what the exchange ended; without a sid, everything."""
        sid = frame.subscription
        known = any(channel.sid == sid for channel in self._channels)
        for channel in self._channels:
            if channel.confirmed and (not known or channel.sid == sid):
                channel.gap_reason = GapReason.TERMINAL_ERROR
                channel.gap_detail = detail
                channel.asked = channel.confirmed = False

    def _message(self, frame: Frame, raw: bytes, now: datetime) -> None:
        metrics.SOCKET_MESSAGES.labels(_type_label(frame.type)).inc()
        for channel in self._channels:
            if channel.confirmed and channel.sid == frame.sid:
                if missing := channel.sequence.missing(frame.seq):
                    self._gap(channel, now, GapReason.SEQUENCE, missing)
                channel.known_until = now
        self._events.append(
            Message(frame.type, frame.sid, frame.seq, frame.sent_at, frame.body, raw, now)
        )

    def _gap(self, channel: _Channel, until: datetime, reason: GapReason, detail: str) -> None:
        metrics.SOCKET_GAPS.labels(reason.value).inc()
        self._events.append(Gap(channel.name, channel.known_until, until, reason, detail))
        channel.known_until = until


_CONTROL = frozenset({"subscribed", "unsubscribed", "ok", "error"})
_TYPES = frozenset(
    {
        "market_lifecycle_v2",
        "event_lifecycle",
        "event_fee_update",
        "multivariate_market_lifecycle",
    }
)


def _type_label(name: str) -> str:
    return name if name in _TYPES else "other"
