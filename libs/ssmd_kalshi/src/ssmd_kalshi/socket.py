"""The WebSocket client: one connection that renews itself, read as an async iterator.

What a consumer may rely on: no message is dropped in silence. Whatever the client cannot vouch for
is said as a `Gap` with its interval, before the messages that follow it. The client holds no task
of its own: it works while the consumer waits for the next event. In between the library answers
pings and buffers a bounded number of frames, then TCP holds the exchange back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from ssmd_kalshi import metrics
from ssmd_kalshi.channels import Channel, Selection
from ssmd_kalshi.connection import Connection
from ssmd_kalshi.errors import (
    ConfigurationError,
    HandshakeRefusedError,
    excerpt,
)
from ssmd_kalshi.feed import Connected, Disconnected, FeedEvent, GapReason
from ssmd_kalshi.retry import RetryPolicy, pause
from ssmd_kalshi.sequences import AckNumbers
from ssmd_kalshi.signing import Signer
from ssmd_kalshi.subscriptions import Subscriptions

log = structlog.get_logger(__name__)

_AT_ONCE = 64
"""Frames that are read before the consumer has the first of them: more would make it wait."""
_LATE_SECONDS = 0.1
"""A timer that is later than this tells of us, not of the exchange."""


@dataclass(frozen=True, slots=True)
class SocketPolicy:
    """Deadlines, limits and the pace of reconnecting."""

    silence_seconds: float = 25.0
    """The exchange pings every 10 s; this long without ping or message is a dead connection."""
    connect_seconds: float = 15.0
    subscribe_seconds: float = 15.0
    close_seconds: float = 2.0
    answer_seconds: float = 2.0
    """So long a sign of life is waited for that was asked for (`KalshiSocket.ask`)."""
    stable_seconds: float = 5.0
    """A connection that said something this long after it was subscribed was no failure."""
    again_seconds: float = 0.25
    """The next one is opened within this time after it; after failures as `reconnect` says
    (docs/decisions/0059)."""
    max_frames: int = 2048
    """Frames buffered for a slow consumer before reading from the network stops."""
    max_frame_bytes: int = 4 * 1024 * 1024
    reconnect: RetryPolicy = field(
        default_factory=lambda: RetryPolicy(base_seconds=1.0, cap_seconds=30.0)
    )


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
        channels: Sequence[str | Selection],
        signer: Signer | None = None,
        policy: SocketPolicy | None = None,
        chance: Callable[[], float] = random.random,
        acks: AckNumbers | None = None,
    ) -> None:
        """A channel given by its name takes everything, and cannot be done without.

        `acks` is what several sockets of a process learn together (`ssmd_kalshi.sequences`).
        """
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
        self._subscriptions = Subscriptions(channels, acks)
        self._events = self._subscriptions.events
        self._connection: Connection | None = None
        self._heard_until: datetime | None = None
        """Of the last connection, once it has ended."""
        self._failures = 0
        self._connect_at = 0.0
        self._served_at: float | None = None
        """Since when the connection has been subscribed, on the loop's clock."""
        self._closed = False
        self._dialling: asyncio.Task[Connection] | None = None
        self._waiting: asyncio.Timeout | None = None

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
            elif command := self._command():
                await self._subscribe(self._connection, command)
            else:
                await self._receive(self._connection)
        return self._events.popleft()

    async def batch(self) -> list[FeedEvent]:
        """The next event, with all that are there beside it; none where the iteration has ended.

        For who has much to take: waiting for each takes as long as reading it.
        """
        try:
            first = await anext(self)
        except StopAsyncIteration:
            return []
        events = [first, *self._events]
        self._events.clear()
        return events

    # --- wishes -----------------------------------------------------------------------------------
    # They may come at any time, from any task of the loop; commands follow while the consumer waits
    # for the next event, and what became of them are events.

    def select(self, selection: Selection) -> None:
        """Want a channel, or another selection of it."""
        self._subscriptions.select(selection)
        self._wake()

    def drop(self, channel: str) -> None:
        """Want nothing of a channel any more."""
        self._subscriptions.drop(channel)
        self._wake()

    def want(self, channel: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Change the markets of a channel that has a list.

        ValueError for a channel without one, KeyError for one that was never selected.
        """
        self._subscriptions.want(channel, add, remove)
        self._wake()

    def renew(self, channel: str, tickers: Iterable[str] | None = None) -> None:
        """Ask for the books of these markets again, or of all that the channel has."""
        self._subscriptions.renew(channel, tickers)
        self._wake()

    def channel(self, name: str) -> Channel:
        """What is wanted and confirmed of a channel: to look at, not to change."""
        return self._subscriptions[name]

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is not None and not waiting.expired():
            waiting.reschedule(asyncio.get_running_loop().time())

    @property
    def connected(self) -> bool:
        """Whether the connection is open now."""
        return self._connection is not None

    @property
    def heard_until(self) -> datetime | None:
        """Up to when all that has arrived, pings included, was handed to the consumer; None where
        that is not known now: something waits, or did when the connection ended."""
        connection = self._connection
        if connection is None:
            return self._heard_until
        if connection.holds_frames or self._events:
            return None
        return connection.arrived_time

    async def ask(self) -> None:
        """Have the exchange answer, so that `heard_until` reaches up to now, also where it says
        nothing else. Without a connection, or an answer within `answer_seconds`, it does not."""
        connection = self._connection
        if connection is None:
            return
        with suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(self._policy.answer_seconds):
                await (await connection.ping())
                # What came before the answer counts once the consumer has it.
                while connection.holds_frames or self._events:  # noqa: ASYNC110 - it has none
                    await asyncio.sleep(0)

    @property
    def late(self) -> timedelta:
        """How long the last message with a time was on its way: as much may wait behind it."""
        return self._subscriptions.late

    @property
    def subscribed(self) -> bool:
        """Whether every channel is subscribed now: half of a consumer's readiness."""
        return self._connection is not None and self._subscriptions.complete

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
        connection.arrived_at, self._served_at = loop.time(), None
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
        connection.most_frames = self._policy.max_frames
        connection.max_frame_bytes = self._policy.max_frame_bytes
        return connection

    def _failed(self, detail: str) -> None:
        self._wait_after_failure()
        self._events.append(
            Disconnected(datetime.now(UTC), GapReason.CLOSED, detail, self._failures)
        )
        log.warning("websocket cannot be opened", attempt=self._failures, detail=detail)

    def _wait_after_failure(self) -> None:
        self._failures += 1
        self._wait(self._policy.reconnect.delay_seconds(self._failures, self._chance()))

    def _wait(self, seconds: float) -> None:
        self._connect_at = asyncio.get_running_loop().time() + seconds

    def _command(self) -> str | None:
        now = asyncio.get_running_loop().time()
        if now < self._subscriptions.idle_until:
            return None
        return self._subscriptions.command(now, now + self._policy.subscribe_seconds)

    async def _subscribe(self, connection: Connection, command: str) -> None:
        try:
            await connection.send(command)
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
        # A dead peer answers no close handshake, and a cancelled close would leave the socket.
        connection.transport.abort()
        self._connection = None
        self._heard_until = known_until
        self._subscriptions.lost(reason, detail, known_until)
        served = 0.0 if self._served_at is None else connection.arrived_at - self._served_at
        if served >= self._policy.stable_seconds:
            # Not at the very moment: whom it closed the connections comes back to it with others.
            self._failures = 0
            self._wait(self._policy.again_seconds * (1.0 - self._chance()))
        else:
            self._wait_after_failure()
        self._events.append(Disconnected(datetime.now(UTC), reason, detail))
        log.warning("websocket was lost", reason=reason.value, detail=detail)

    # --- receiving --------------------------------------------------------------------------------

    async def _receive(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            # What is here is worth no deadline's time.
            if not connection.holds_frames:
                until = min(self._deadline(connection), self._subscriptions.idle_until)
                async with asyncio.timeout_at(until) as self._waiting:
                    await connection.arrival()
        except TimeoutError:
            if loop.time() < self._deadline(connection):
                # A command is due.
                return
            if loop.time() - self._deadline(connection) > _LATE_SECONDS:
                # It was this process that did not get to run, or was stopped: uvloop's timers come
                # before what has arrived meanwhile.
                await asyncio.sleep(_LATE_SECONDS)
            # Pings do not wake recv, and what a slow consumer kept waiting in TCP is read only now:
            # look again whether anything came.
            if connection.holds_frames or loop.time() < self._deadline(connection):
                return
            if any(deadline <= loop.time() for deadline in self._subscriptions.deadlines):
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
        finally:
            self._waiting = None
        subscriptions, now = self._subscriptions, loop.time()
        for _ in range(_AT_ONCE):
            raw, arrived = connection.take()
            if (useless := subscriptions.take(raw, arrived, now)) is not None:
                self._lost(connection, GapReason.CLOSED, useless)
                break
            if not connection.holds_frames:
                break
        if self._served_at is None and subscriptions.confirmed:
            self._served_at = now
        subscriptions.count()

    def _deadline(self, connection: Connection) -> float:
        silence = connection.arrived_at + self._policy.silence_seconds
        return min([silence, *self._subscriptions.deadlines])
