"""The archiver's loop: read the stream from where the manifest ends, for ever."""

import time
from typing import Final

import nats.errors
import psycopg
import structlog
from nats.aio.client import Client

from ssmd_archiver.desk import Desk
from ssmd_archiver.errors import Stopping
from ssmd_archiver.health import StreamHealth
from ssmd_archiver.metrics import LAG_MESSAGES
from ssmd_archiver.settings import ArchiverSettings
from ssmd_archiver.taking import take
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import StopRequested, UpstreamUnavailable
from ssmd_common.metrics import WORK
from ssmd_common.runtime import Runtime
from ssmd_common.states import STANDBY
from ssmd_stream.delivery import Delivery
from ssmd_stream.errors import ReaderBroken, StreamGap, StreamMissing, StreamUnavailable
from ssmd_stream.lag import Lag
from ssmd_stream.reader import Expectations, Reader, reading
from ssmd_stream.stream import Stream, StreamInfo

log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 0.5
_BATCH: Final = 1000
_WAIT_SECONDS: Final = 1.0
_FILL_SECONDS: Final = 0.2
_LEAST_PULL_BYTES: Final = 4 << 20
_SAME_TIME_NS: Final = 10_000
"""NATS tells a single message's time in nanoseconds, nats-py in microseconds."""
STATE_SECONDS: Final = 5.0
STATE_AGAIN_SECONDS: Final = 3600.0
"""A state after a hole: the next hole may be near."""


class Archiver:
    """Holds the archive's lock throughout."""

    def __init__(
        self,
        runtime: Runtime,
        settings: ArchiverSettings,
        client: Client,
        desk: Desk,
        health: StreamHealth,
    ) -> None:
        self._runtime = runtime
        self._health = health
        self._settings = settings
        self._layout = desk.layout
        self._stream = Stream(client, desk.layout.stream, publisher=desk.layout.publisher)
        self.has_stream = False
        """Whether the stream was there when it was last looked for."""
        self._desk = desk
        self._writer = desk.writer
        self._lag = Lag(
            health, settings.archiver_ready_lag_seconds, LAG_MESSAGES.labels(desk.layout.stream)
        )
        self._is_current = False
        pull_bytes = max(_LEAST_PULL_BYTES, 2 * client.max_payload)
        self._expectations = Expectations(_BATCH, pull_bytes=pull_bytes)

    async def run(self) -> None:
        """Until the service is asked to stop."""
        if self._layout.has_states:
            self._runtime.spawn("archiver-state", self._take_states())
        while not self._runtime.stop.is_set():
            try:
                await self._follow()
            except Stopping:
                return
            except StreamGap as error:
                log.warning("the stream does not hold what comes next", error=str(error))
                if error.lost is not None:
                    self._writer.expire(error.lost.stop)
            except ReaderBroken as error:
                self._survived("feed", error)
            except StreamMissing as error:
                self._missing(error)
                await self._runtime.stopped_within(_PAUSE_SECONDS)
            except (nats.errors.Error, StreamUnavailable, TimeoutError, OSError) as error:
                self._survived("nats", error)
                self._health.set("nats", f"NATS does not serve the stream ({first_line(error)})")
                await self._runtime.stopped_within(_PAUSE_SECONDS)
            self._is_current = False
            self._health.progress()

    async def _follow(self) -> None:
        """Archive from where the writer is, until something breaks or the stop."""
        info = await self._stream.info()
        self.has_stream = True
        self._health.degrade("stream", None)
        await self._identify(info)
        start = self._writer.next_sequence
        async with reading(
            self._stream, start, subjects=self._layout.subjects, expectations=self._expectations
        ) as reader:
            log.info("archiving the stream", stream=self._layout.stream, from_seq=start)
            self._health.set("nats", None)
            while not self._runtime.stop.is_set():
                batch = await reader.batch(_BATCH, _WAIT_SECONDS, _FILL_SECONDS)
                await self._desk.write(batch)
                WORK.inc(len(batch))
                await self._desk.tick()
                self._report(batch, reader)
                self._health.progress()

    async def _identify(self, info: StreamInfo) -> None:
        """Begin a chain where the stream is not the one that was archived."""
        why = await self._why_another(info)
        if why is not None:
            log.info("the stream is archived from its beginning", why=why)
            self._writer.begin_chain(info.created, info.first_sequence, why)
        self._writer.expire(info.first_sequence)
        # What was archived of the one before is complete then.
        await self._desk.write([])

    async def _why_another(self, info: StreamInfo) -> str | None:
        writer = self._writer
        if writer.created is None:
            return "the archive begins"
        if writer.created != info.created:
            return "the stream was deleted and made anew"
        seen = writer.seen
        if seen is None:
            return None
        if info.last_sequence < seen.sequence:
            return (
                f"the stream ends at {info.last_sequence}, before what was archived: it went back"
            )
        message = await self._stream.message(seen.sequence)
        if message is not None:
            told_ns = round(message.stored_at.timestamp() * 1e6) * 1000
            if abs(told_ns - seen.stored_at_ns) > _SAME_TIME_NS:
                return f"message {seen.sequence} of the stream is another one than was archived"
        return None

    async def _take_states(self) -> None:
        """A day's state, once the day has begun and the stream is followed to its end."""
        taken_at: float | None = None
        day = ""
        while not await self._runtime.stopped_within(STATE_SECONDS if taken_at else _WAIT_SECONDS):
            window = self._writer.window
            if window is None or not self._is_current or not self._writer.needs_state:
                continue
            is_recent = taken_at is not None and time.monotonic() - taken_at < STATE_AGAIN_SECONDS
            if window.day == day and is_recent:
                continue
            try:
                taken = await take(
                    self._settings, self._stream, self._desk.begin_state, self._health
                )
                if await self._desk.add_state(taken):
                    taken_at, day = time.monotonic(), taken.writer.window.day
                    log.info("a state is archived", after_seq=taken.writer.after_seq)
                self._health.degrade("state", None)
            except (StopRequested, Stopping):
                return
            except (
                psycopg.Error,
                nats.errors.Error,
                UpstreamUnavailable,
                TimeoutError,
                OSError,
            ) as error:
                self._survived("state", error)
                self._health.degrade(
                    "state", f"the day has no state yet, it could not be taken: {first_line(error)}"
                )

    def _report(self, batch: list[Delivery], reader: Reader) -> None:
        if not self._lag.report(batch, reader):
            return
        self._is_current = reader.is_current
        self._health.tell_position(
            sequence=self._writer.next_sequence - 1, sealed_sequence=self._writer.sealed_through
        )

    def _missing(self, error: StreamMissing) -> None:
        """The change stream must be there; market data need not be captured at all."""
        self.has_stream = False
        if self._layout.has_states:
            # Before the first start of cdc there is none: that is waited for, and is no error.
            if self._writer.created is not None:
                self._survived("nats", error)
            self._health.set("nats", f"NATS does not serve the stream ({first_line(error)})")
            return
        self._health.set("nats", None)
        self._health.degrade(
            "stream",
            None
            if self._writer.created is None
            else "the stream that was archived does not exist any more: is connector turned off?",
        )

    def _survived(self, kind: str, error: BaseException) -> None:
        self._health.failed(kind, error)
        log.warning(
            "survived an error, going on",
            stream=self._layout.stream,
            kind=kind,
            error=first_line(error),
        )


async def standing_by(runtime: Runtime, holder: str, seconds: float) -> None:
    """Another archiver writes: this one takes over when it has ended."""
    if runtime.health.state != STANDBY:
        log.info("standing by, another archiver writes", holder=holder)
    runtime.health.stand_by("lock", f"{holder} writes to the archive; this one stands by")
    runtime.health.progress()
    await runtime.stopped_within(seconds)
