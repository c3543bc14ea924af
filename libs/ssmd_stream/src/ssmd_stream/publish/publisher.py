"""Publishing to a stream: every message once, in order, acknowledged, or it ends.

Messages are sent without waiting for answers, up to the window. Each says with which sequence the
stream must end before it, so that NATS refuses all that would leave a gap or come twice.

Any refusal, timeout or disconnect stops sending. Then the stream's end is read (`tail`), and
sending goes on with what it does not hold. A message there that is not ours means that there is
another publisher: this one is fenced, and ends. `window` holds what is in flight, `groups` puts
messages together, `wire` is the connection.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Generic

import nats.errors
import structlog

from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_common.health import Health
from ssmd_common.metrics import WORK
from ssmd_common.rights import NatsRights
from ssmd_common.tasks import raise_if_cancelled
from ssmd_stream.errors import MayNot, NotStored, does_not_store
from ssmd_stream.publish.groups import Groups
from ssmd_stream.publish.interruption import Interruption
from ssmd_stream.publish.options import Acknowledged, PublisherMetrics, PublisherOptions
from ssmd_stream.publish.tail import last_and_stored
from ssmd_stream.publish.window import Entry, M, Window
from ssmd_stream.publish.wire import Wire, WireLost, open_wire
from ssmd_stream.stream import Stream

log = structlog.get_logger(__name__)

_OVERHEAD: Final = 512
"""Room for a message's headers, which count towards the server's max_payload."""

_DRAIN_SECONDS: Final = 2.0
_QUIET_SECONDS: Final = 0.05
_TURN_SECONDS: Final = 0.25


class Publisher(Generic[M]):
    """`send` hands messages over and waits only while the window is full or NATS is away.

    `run` is its side task: it connects, takes the answers, watches deadlines and recovers. How far
    it is stands in `acknowledged`; `progressed` waits for more.

    `created` and `last_sequence` are the stream's as it was when it was decided what comes next.
    `name` is the connection's, `rights` what our user is known to need. `replace` makes the message
    that is published in the place of one that is larger than the server takes, which is its second
    argument (bytes); it must fit, and have the same identity.
    """

    def __init__(
        self,
        stream: Stream,
        access: NatsAccess,
        health: Health,
        options: PublisherOptions,
        metrics: PublisherMetrics,
        *,
        created: str,
        last_sequence: int,
        name: str,
        rights: NatsRights | None,
        replace: Callable[[M, int], Awaitable[M]],
    ) -> None:
        self._stream = stream
        self._created = created
        self._access = access
        self._options = options
        self._metrics = metrics
        self._name = name
        self._rights = rights
        self._replace = replace
        self._window: Window[M] = Window(
            stream.name, last_sequence, options.window_messages, options.window_bytes
        )
        self._last: M | None = None
        self._wire: Wire | None = None
        self._groups: Groups[M] | None = None
        self._live = False
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._progressed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._interruption = Interruption(health, options.condition, metrics.not_storing)

    @property
    def acknowledged(self) -> Acknowledged[M]:
        """How far it is now."""
        return Acknowledged(self._window.first, self._window.acknowledged_sequence, self._last)

    async def progressed(self) -> Acknowledged[M]:
        """How far it is, once that is further than when this returned last. For one task."""
        await self._progressed.wait()
        self._progressed.clear()
        return self.acknowledged

    @property
    def in_flight(self) -> int:
        return len(self._window.entries)

    @property
    def oldest(self) -> M | None:
        """The first message that is not known to be in the stream."""
        entries = self._window.entries
        return entries[0].message if entries else None

    @property
    def unacknowledged(self) -> list[M]:
        """What was handed over and is not known to be in the stream, in order."""
        return [entry.message for entry in self._window.entries]

    @property
    def interrupted(self) -> bool:
        """Whether it is busy mending a broken connection or chain."""
        return not self._live

    @property
    def max_payload(self) -> int:
        """What the server takes, headers included, as far as it is known now; bytes."""
        # A wire hears of a change while it runs, the client when it connects.
        return self._wire.max_payload if self._wire else self._stream.client.max_payload

    async def send(self, messages: Sequence[M]) -> None:
        """Publish these after all that was sent before, however long it has to wait for room."""
        now, has_room, most = self._loop.time(), self._room.is_set, self.max_payload - _OVERHEAD
        for message in messages:
            if len(message.payload) > most or not has_room():
                message = await self._fitting(message)
                now, most = self._loop.time(), self.max_payload - _OVERHEAD
            self._add(message, now)

    async def _fitting(self, message: M) -> M:
        """Wait until the message, or the one in its place, can be published."""
        while True:
            if self._too_large(message):
                message = await self._replace(message, self.max_payload)
            elif not self._room.is_set():
                await self._room.wait()
            else:
                return message

    def _add(self, message: M, now: float) -> None:
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
            Fenced: the stream's end is not ours.
            StreamChanged: it is another stream than before, or it lost its end.
            UpstreamUnavailable: NATS was away beyond its budget.
            ConfigurationError: for as long a right was missing.
        """
        try:
            while True:
                wire, groups = await self._connected()
                began = self._loop.time()
                reason = await self._carry(wire, groups)
                self._live = False
                self._interruption.because(reason, self.in_flight)
                await self._drain(wire, groups)
                await self._interruption.rest_unless_steady(self._loop.time() - began)
        finally:
            self._live = False
            self.report()
            if self._wire is not None:
                self._wire.close()

    def report(self) -> None:
        """Bring the metrics up to date."""
        self._metrics.in_flight.set(self.in_flight)
        self._metrics.in_flight_bytes.set(self._window.size)
        counts, self._counts = self._counts, Counter()
        for labels, count in counts.items():
            self._metrics.messages.labels(*labels).inc(count)
        WORK.inc(counts.total())

    async def _connected(self) -> tuple[Wire, Groups[M]]:
        """A connection on which all that was in flight is sent again."""
        budget_seconds = self._options.outage_budget_seconds
        deadline = self._loop.time() + budget_seconds
        while True:
            try:
                carrier = await self._resend(
                    *await last_and_stored(
                        self._stream,
                        self._created,
                        self._window.acknowledged_sequence,
                        # A copy: meanwhile more is handed over.
                        [entry.message.id for entry in self._window.entries],
                    )
                )
                raise_if_cancelled()
                return carrier
            except (UpstreamUnavailable, WireLost, NotStored, nats.errors.Error) as error:
                raise_if_cancelled()
                self._interruption.because(str(error) or type(error).__name__, self.in_flight)
                if self._loop.time() > deadline:
                    if isinstance(error, MayNot) or (isinstance(error, WireLost) and error.denied):
                        raise ConfigurationError(str(error)) from error
                    raise UpstreamUnavailable(
                        f"nothing was published for {budget_seconds:g} s ({error}): check "
                        "NATS_URL and that NATS runs with JetStream"
                    ) from error
                await self._interruption.rest()

    async def _resend(self, last_sequence: int, stored: int) -> tuple[Wire, Groups[M]]:
        """Send what the stream does not hold: it ends there, and holds so many in flight."""
        if self._wire is not None:
            self._wire.close()
        wire = self._wire = await open_wire(
            self._stream.client, self._access, self._rights, self._name, self.max_payload
        )
        window = self._window
        groups = self._groups = Groups(wire, window, durable=self._options.durable)
        self._settle(window.rechain(last_sequence, stored))
        first = sent = window.first
        self._interruption.lasts_until(first + len(window.entries))
        while (at := sent - window.first) < len(window.entries):
            entry = window.entries[at]
            if self._too_large(entry.message):
                # The server's limit was lowered since the message was built.
                entry.message = await self._replace(entry.message, self.max_payload)
            entry.sent_at = self._loop.time()
            groups.add(entry.message, sent)
            sent += 1
            if sent == first + 1:
                # Alone: whether the server stores at all is not to be asked with 16 MiB.
                groups.flush()
                await self._prove(wire, groups, sent)
            await wire.writable.wait()
            wire.raise_if_lost()
        self._live = True
        self._interruption.stored(window.first)
        self._make_room(wire)
        return wire, groups

    async def _prove(self, wire: Wire, groups: Groups[M], end: int) -> None:
        """Wait until the messages before number `end` are stored.

        Raises:
            NotStored: there is no answer, although the server has told of its stream just before.
            WireLost: the connection broke, or the server refused a message.
        """
        seconds = self._options.ack_seconds
        waited = 0.0
        while self._window.first < end:
            replies = await wire.replies(min(_TURN_SECONDS, seconds))
            if (reason := self._note(replies, groups)) is not None:
                raise WireLost(reason)
            waited = 0.0 if replies else waited + _TURN_SECONDS
            if waited > seconds:
                raise NotStored(
                    does_not_store(
                        f"it answers, but for {seconds:g} s did not acknowledge a message whose "
                        "turn it was, as with a full disk, after which NATS 2.15 stores nothing "
                        "until it is restarted"
                    )
                )

    async def _carry(self, wire: Wire, groups: Groups[M]) -> str:
        """Take answers until sending fails, or an answer is overdue: for which reason."""
        waited = 0.0
        while True:
            try:
                replies = await wire.replies(_TURN_SECONDS)
            except WireLost as error:
                return str(error)
            if replies:
                if (reason := self._note(replies, groups)) is not None:
                    return reason
                groups.write()
            self._make_room(wire)
            # Turns of ours, not the clock: an answer that we had no time to read is not overdue.
            moved = replies or not self._window.entries
            waited = 0.0 if moved else waited + _TURN_SECONDS
            if waited > self._options.ack_seconds:
                return f"a message was not acknowledged within {waited:.1f} s"

    async def _drain(self, wire: Wire, groups: Groups[M]) -> None:
        """Let answers that are under way arrive, so that the tail tells as much as it can."""
        deadline = self._loop.time() + _DRAIN_SECONDS
        with suppress(WireLost):
            while self._loop.time() < deadline and (replies := await wire.replies(_QUIET_SECONDS)):
                self._note(replies, groups)
        wire.close()

    def _note(self, replies: list[tuple[int, bytes]], groups: Groups[M]) -> str | None:
        """Settle what these acknowledge; why the chain is broken if it is."""
        done, reason = self._window.replies(replies, groups.batches)
        self._settle(done)
        return reason

    def _settle(self, done: list[Entry[M]]) -> None:
        if not done:
            return
        self._counts.update([entry.message.labels for entry in done])
        # One of those that were acknowledged together stands for all.
        self._metrics.publish_seconds.observe(self._loop.time() - done[-1].sent_at)
        self._last = done[-1].message
        if not self._window.entries:
            self._empty.set()
        if self._live:
            self._interruption.stored(self._window.first)
        self._progressed.set()

    def _make_room(self, wire: Wire) -> None:
        if not self._window.full and wire.writable.is_set():
            self._room.set()

    def _too_large(self, message: M) -> bool:
        return len(message.payload) + _OVERHEAD > self.max_payload
