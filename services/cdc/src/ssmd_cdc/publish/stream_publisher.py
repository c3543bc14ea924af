"""Publishing to SECMASTER_CDC: every message once, in order, acknowledged, or the session ends.

Messages are sent without waiting for answers, up to the window. Each says with which sequence the
stream must end before it, so that NATS refuses all that would leave a gap or come twice.

Any refusal, timeout or disconnect stops sending; the stream's tail is read again, and sending goes
on with what it does not hold. A tail that is not ours means another publisher: this one is fenced.
`window` holds what is in flight, `groups` puts messages together, `wire` is the connection.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client

from ssmd_cdc import metrics
from ssmd_cdc.encode.envelope import Outgoing, as_marker
from ssmd_cdc.epoch import Stream
from ssmd_cdc.errors import (
    Fenced,
    MayNot,
    NotStored,
    StreamChanged,
    does_not_store,
    without_jetstream,
)
from ssmd_cdc.publish.deadletters import DeadLetters
from ssmd_cdc.publish.groups import Groups
from ssmd_cdc.publish.interruption import Interruption
from ssmd_cdc.publish.stream import ApiError, Streams, StreamUnavailable
from ssmd_cdc.publish.window import Entry, Window
from ssmd_cdc.publish.wire import Wire, WireLost
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections.nats import nodes
from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.deadlines import answered_within
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_common.health import Health
from ssmd_common.metrics import WORK
from ssmd_common.tasks import raise_if_cancelled
from ssmd_stream import subjects
from ssmd_stream.change import Position

log = structlog.get_logger(__name__)

_OVERHEAD: Final = 512
"""Room for a message's headers, which count towards the server's max_payload."""

_DRAIN_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.25


class StreamPublisher:
    """`send` hands messages over and waits only while the window is full or NATS is away.

    `run` is its side task, which connects, watches deadlines and recovers. `on_acknowledged(n)` is
    called when the next n messages, in order, are in the stream.
    """

    def __init__(
        self,
        client: Client,
        streams: Streams,
        settings: CdcSettings,
        health: Health,
        *,
        epoch: int,
        stream: Stream,
        position: Position,
        on_acknowledged: Callable[[int], None],
    ) -> None:
        self._client = client
        self._access = NatsAccess.of(settings)
        self._dead_letters = DeadLetters(client, settings, health, epoch)
        self._streams = streams
        self._settings = settings
        self._epoch = epoch
        self._created = stream.created
        self._window = Window(
            stream.last_sequence, settings.cdc_window_messages, settings.cdc_window_bytes
        )
        self._on_acknowledged = on_acknowledged
        self._wire: Wire | None = None
        self._live = False
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._room.set()
        self._failure: asyncio.Future[str] | None = None
        self._loop = asyncio.get_running_loop()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._groups: Groups | None = None
        self._proof: asyncio.Future[None] | None = None
        self._interruption = Interruption(health)
        self._denied: str | None = None
        self.acknowledged_position = position

    @property
    def acknowledged_sequence(self) -> int:
        """The stream's sequence of the last message that is acknowledged, with all before it."""
        return self._window.acknowledged_sequence

    @property
    def in_flight(self) -> int:
        return len(self._window.entries)

    @property
    def interrupted(self) -> bool:
        """Whether it is busy mending a broken connection or chain."""
        return not self._live

    async def send(self, messages: list[Outgoing]) -> None:
        """Publish these after all that was sent before, however long it has to wait for room."""
        now = self._loop.time()
        for message in messages:
            if message.raw is not None or self._too_large(message) or not self._room.is_set():
                message = await self._ready(message)
                now = self._loop.time()
            self._add(message, now)

    async def _ready(self, message: Outgoing) -> Outgoing:
        """Wait until the message, or the marker in its place, can be published."""
        while True:
            if message.raw is not None:
                await self._dead_letters.keep(message, message.raw, self._limit)
                message.raw = None
            elif self._too_large(message):
                message = await self._set_aside(message)
            elif not self._room.is_set():
                await self._room.wait()
            else:
                return message

    def _add(self, message: Outgoing, now: float) -> None:
        window = self._window
        number = window.add(message, now)
        if number == window.first:
            self._empty.clear()
        if self._live:
            assert self._groups is not None
            self._groups.add(message, number)
        if window.full or (self._wire is not None and not self._wire.writable.is_set()):
            self._room.clear()

    async def drained(self) -> None:
        """Wait until every message is acknowledged."""
        await self._empty.wait()

    async def run(self) -> None:
        """Keep a connection and the chain whole.

        Raises:
            Fenced: the stream's tail is not ours.
            StreamChanged: it is another stream than before, or it lost its end.
            UpstreamUnavailable: NATS was away beyond its budget.
            ConfigurationError: for as long a right was missing.
        """
        try:
            while True:
                await self._connect()
                assert self._failure is not None
                began = self._loop.time()
                reason = await self._watch(self._failure)
                self._live = False
                self._interruption.because(reason, self.in_flight)
                await self._drain()
                await self._interruption.rest_unless_steady(self._loop.time() - began)
        finally:
            self._live = False
            self.report()
            if self._wire is not None:
                self._wire.close()

    def report(self) -> None:
        """Bring the metrics up to date."""
        metrics.IN_FLIGHT.set(self.in_flight)
        metrics.IN_FLIGHT_BYTES.set(self._window.size)
        counts, self._counts = self._counts, Counter()
        for (table, op), count in counts.items():
            metrics.MESSAGES.labels(table, op).inc(count)
        WORK.inc(counts.total())

    async def _connect(self) -> None:
        deadline = self._loop.time() + self._settings.cdc_outage_budget_seconds
        while True:
            try:
                stored = await self._stored_entries()
                await self._resend(*stored)
                raise_if_cancelled()
                return
            except (StreamUnavailable, WireLost, NotStored, MayNot, nats.errors.Error) as error:
                raise_if_cancelled()
                self._interruption.because(str(error) or type(error).__name__, self.in_flight)
                if self._loop.time() > deadline:
                    if isinstance(error, MayNot) or str(error) == self._denied:
                        raise ConfigurationError(str(error)) from error
                    raise UpstreamUnavailable(
                        f"nothing was published for {self._settings.cdc_outage_budget_seconds:g} s "
                        f"({error}): check NATS_URL and that NATS runs with JetStream"
                    ) from error
                await self._interruption.rest()

    async def _stored_entries(self) -> tuple[int, int]:
        """The stream's last sequence, and how many of the entries in flight it holds."""
        try:
            stream = await self._streams.look()
        except ApiError as error:
            if error.temporary:
                raise StreamUnavailable(without_jetstream(str(error))) from error
            raise StreamChanged(f"the stream {subjects.STREAM} is gone ({error})") from error
        known = self._window.acknowledged_sequence
        if stream.created != self._created or stream.last_sequence < known:
            raise StreamChanged("the stream was made anew or restored while it was published to")
        stored = stream.last_sequence - known
        if stored:
            # The tail alone would not tell: where a foreign message took the place of one of ours,
            # that one was refused and those after it were stored.
            ours = [self._position(entry.message) for entry in islice(self._window.entries, stored)]
            between = self._streams.positions(known + 1, stream.last_sequence)
            found = [position async for position in between]
            if len(found) < stored and set(found) <= set(ours):
                raise StreamChanged("messages were deleted or aged out before they were confirmed")
            if found != ours:
                raise Fenced("another publisher wrote to the stream: its tail is not ours")
        return stream.last_sequence, stored

    async def _resend(self, last_sequence: int, stored: int) -> None:
        if self._wire is not None:
            self._wire.close()
        failure = self._failure = self._loop.create_future()

        def fail(reason: str) -> None:
            if not failure.done():
                failure.set_result(reason)

        def reply(answers: list[tuple[int, bytes]]) -> None:
            done, reason = self._window.replies(answers, groups.batches)
            self._settle(done)
            if reason is not None:
                fail(reason)
            groups.write()

        wire = await self._open_wire(reply, fail)
        groups = self._groups = Groups(
            wire, self._window, self._epoch, durable=self._settings.cdc_durable
        )
        self._settle(self._window.rechain(last_sequence, stored))
        first = sent = self._window.first
        self._interruption.lasts_until(first + len(self._window.entries))
        while (at := sent - self._window.first) < len(self._window.entries):
            entry = self._window.entries[at]
            if self._too_large(entry.message):
                # The server's limit was lowered since the message was built.
                entry.message = await self._set_aside(entry.message)
            entry.sent_at = self._loop.time()
            groups.add(entry.message, sent)
            sent += 1
            if sent == first + 1:
                # Alone: whether the server stores at all is not to be asked with 16 MiB.
                self._proof = self._loop.create_future()
                groups.flush()
                await self._proven(self._proof, failure)
            await wire.writable.wait()
            if failure.done():
                raise WireLost(failure.result())
        self._live = True
        self._interruption.stored(self._window.first)
        self._make_room()

    async def _open_wire(
        self, reply: Callable[[list[tuple[int, bytes]]], None], fail: Callable[[str], None]
    ) -> Wire:
        """A wire to the node that the client is connected to, else to another that it knows: where
        one is drained or gone, the others go on."""
        reasons = ["no node of NATS is known"]

        def lost(reason: str) -> None:
            reasons.append(reason)
            self._denied = wire.denied or self._denied
            if self._wire is wire:
                fail(reason)

        for server in nodes(self._client, self._access):
            wire = Wire(self._access, reply, lost, self._limit)
            try:
                await wire.open(server, "ssmd-cdc-publish")
            except WireLost as error:
                reasons.append(str(error))
                continue
            if not wire.lost:
                self._wire = wire
                return wire
        raise WireLost(reasons[-1])

    async def _proven(self, proof: asyncio.Future[None], failure: asyncio.Future[str]) -> None:
        """Wait until the one message under way is stored.

        Raises:
            NotStored: it has no answer, although the server has told of its stream just before.
            WireLost: the connection broke, or the server refused the message.
        """
        seconds = self._settings.cdc_ack_seconds
        try:
            async with answered_within(seconds):
                either: set[asyncio.Future[Any]] = {proof, failure}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise NotStored(
                does_not_store(
                    f"it answers, but for {seconds:g} s did not acknowledge a message whose turn "
                    "it was, as with a full disk, after which NATS 2.15 stores nothing until it is "
                    "restarted"
                )
            ) from error
        if not proof.done():
            raise WireLost(failure.result())

    async def _watch(self, failure: asyncio.Future[str]) -> str:
        """Wait until sending fails: for its reason, or because an answer is overdue."""
        first, waited = -1, 0.0
        while True:
            done, _ = await asyncio.wait({failure}, timeout=_PAUSE_SECONDS)
            if done:
                return failure.result()
            if self._wire is not None and self._wire.writable.is_set():
                self._make_room()
            # Turns of ours, not the clock: an answer that we had no time to read is not overdue.
            moved = first != self._window.first or not self._window.entries
            waited = 0.0 if moved else waited + _PAUSE_SECONDS
            first = self._window.first
            if waited > self._settings.cdc_ack_seconds:
                return f"a message was not acknowledged within {waited:.1f} s"

    async def _drain(self) -> None:
        """Let answers that are under way arrive, so that the tail tells as much as it can."""
        wire = self._wire
        deadline = self._loop.time() + _DRAIN_SECONDS
        last = -1
        while wire and not wire.lost and self._loop.time() < deadline and last != wire.replies:
            last = wire.replies
            await asyncio.sleep(0.05)
        if wire:
            wire.close()

    def _settle(self, done: list[Entry]) -> None:
        if not done:
            return
        counts = self._counts
        for entry in done:
            message = entry.message
            counts[message.table, message.op] += 1
        # One of those that were acknowledged together stands for all.
        metrics.PUBLISH_SECONDS.observe(self._loop.time() - done[-1].sent_at)
        self.acknowledged_position = self._position(done[-1].message)
        if not self._window.entries:
            self._empty.set()
        if self._proof is not None and not self._proof.done():
            self._proof.set_result(None)
        if self._live:
            self._interruption.stored(self._window.first)
        self._make_room()
        self._on_acknowledged(len(done))

    def _make_room(self) -> None:
        if not self._window.full and (self._wire is None or self._wire.writable.is_set()):
            self._room.set()

    def _too_large(self, message: Outgoing) -> bool:
        return len(message.payload) + _OVERHEAD > self._limit

    async def _set_aside(self, message: Outgoing) -> Outgoing:
        error = f"the message has {len(message.payload)} bytes, the server takes {self._limit}"
        await self._dead_letters.keep(message, message.payload, self._limit)
        marker = as_marker(message, error)
        marker.raw = None  # Kept by now.
        return marker

    @property
    def _limit(self) -> int:
        # A wire hears of a change while it runs, the client when it connects.
        return self._wire.max_payload if self._wire else self._client.max_payload

    def _position(self, message: Outgoing) -> Position:
        return Position(self._epoch, message.lsn, message.seq)
