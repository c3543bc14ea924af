"""One replication session: from taking the slot until something breaks or the service stops.

A change's way is `_follow`: the reader makes messages of what the slot sends, the publisher brings
them into the stream. What comes back is read from the publisher, by `_note_acknowledgements` as
soon as it comes: `progress` makes of it how far the slot may be confirmed. `_remember` writes that
down and then confirms it. Beside these run the heartbeat, the feedback and the watch for a server
that shuts down, each a task; the first that fails ends the session with its error.
"""

import asyncio
import time
from typing import Final

import structlog

from ssmd_cdc.control import Control, remembered
from ssmd_cdc.encode.envelope import Envelope, Outgoing, protocol_time, utc
from ssmd_cdc.epoch import State
from ssmd_cdc.publish.stream_publisher import StreamPublisher
from ssmd_cdc.replication.beside import Beside
from ssmd_cdc.replication.heartbeat import Heartbeats, Return
from ssmd_cdc.replication.pgoutput import Relation
from ssmd_cdc.replication.progress import Progress
from ssmd_cdc.replication.report import Report
from ssmd_cdc.replication.slot import Replication
from ssmd_cdc.replication.snapshot import Snapshot
from ssmd_cdc.replication.tables import Tables, forget
from ssmd_cdc.replication.wal_reader import WalReader
from ssmd_cdc.settings import CdcSettings
from ssmd_common.runtime import Runtime
from ssmd_common.tasks import raise_if_cancelled
from ssmd_stream.change import Position
from ssmd_stream.errors import Fenced

log = structlog.get_logger(__name__)

_WAIT_SECONDS: Final = 0.5
DRAIN_SECONDS: Final = 10.0


class ReplicationSession:
    """Follows the WAL of one slot in one epoch.

    `state` is what was last remembered; `position` the last change in the stream, and what
    arrives up to it is skipped. `overlaps` tells that the slot begins at or before it, so that it
    has to arrive.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: CdcSettings,
        control: Control,
        replication: Replication,
        publisher: StreamPublisher,
        state: State,
        position: Position,
        xid_reference: int,
        *,
        overlaps: bool,
    ) -> None:
        self._runtime = runtime
        self._health = runtime.health
        self._settings = settings
        self._control = control
        self._replication = replication
        self._publisher = publisher
        self._state = state
        self._remembered = Position(state.epoch, state.lsn, state.seq)
        self._start = position
        self._progress = Progress(confirmed=0)
        self._safe_lsn = 0
        self._heartbeats = Heartbeats()
        self._return = Return(self._heartbeats)
        self.report = Report(runtime.health, settings, self._heartbeats)
        self._tables = Tables(control)
        self._reader = WalReader(
            replication,
            self._tables,
            self._progress,
            self._heartbeats,
            self._return,
            position,
            xid_reference,
            overlaps=overlaps,
        )
        self._beside = Beside(runtime.health, settings.cdc_outage_budget_seconds)
        self._snapshot_done = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self, snapshot: Snapshot | None) -> None:
        """Until the service stops, which it does cleanly; a snapshot is published first.

        Raises:
            SessionEnded, SsmdError: why it could not go on.
        """
        # The session before is over, and its tables are among what nothing uses.
        forget()
        try:
            async with asyncio.TaskGroup() as group:
                side = [
                    group.create_task(self._publisher.run(), name="cdc-publisher"),
                    group.create_task(self._note_acknowledgements(), name="cdc-acknowledged"),
                    group.create_task(self._feed_back(), name="cdc-feedback"),
                    group.create_task(self._remember_often(), name="cdc-remember"),
                    group.create_task(self._beat(), name="cdc-heartbeat"),
                    group.create_task(self._watch_for_shutdown(), name="cdc-shutdown"),
                ]
                work = group.create_task(self._work(snapshot), name="cdc-follow")
                if await self._stop_work(work):
                    await self._finish()
                for task in side:
                    task.cancel()
        except BaseExceptionGroup as group_of_errors:
            raise_if_cancelled()
            raise _first(group_of_errors) from group_of_errors
        finally:
            self._beside.end()

    async def _work(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            await self._publish_snapshot(snapshot)
        self._snapshot_done.set()
        await self._follow()

    async def _stop_work(self, work: "asyncio.Task[None]") -> bool:
        """Wait for the stop, then for the work to notice it; whether it came to a clean end."""
        await self._runtime.stop.wait()
        done, _ = await asyncio.wait({work}, timeout=2 * _WAIT_SECONDS)
        work.cancel()
        return bool(done) or self._snapshot_done.is_set()

    async def _publish_snapshot(self, snapshot: Snapshot) -> None:
        self._progress.began()
        at = utc(protocol_time(await snapshot.server_time()))
        envelope = Envelope(self._start.epoch, self._start.lsn, None, at)
        published = await snapshot.publish(self._control, envelope, self._send)
        await snapshot.close()
        await self._publisher.drained()
        self._progress.in_transaction = False
        await self._remember()
        self.report.announced(self._start.epoch, published.rows, published.state_bytes)

    async def _follow(self) -> None:
        """Read the WAL and publish what it says, until the service is asked to stop."""
        messages: list[Outgoing] = []
        while not self._runtime.stop.is_set():
            more = self._reader.read(messages)
            self._health.progress()
            await self._publisher.send(messages)
            messages.clear()
            self._advance()
            if isinstance(more, Relation):
                await self._tables.learn(more)
            elif more:
                # Once for what the connections receive, and once for the tasks that it wakes: the
                # publisher's answers do not wait for another turn of reading.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            else:
                await self._replication.wait(_WAIT_SECONDS)

    async def _send(self, message: Outgoing) -> None:
        self._progress.sent += 1
        await self._publisher.send([message])

    async def _note_acknowledgements(self) -> None:
        while True:
            await self._publisher.progressed()
            self._advance()

    def _advance(self) -> None:
        passed = self._progress.advance(self._publisher.acknowledged.messages)
        if passed:
            self.report.passed(passed[-1], time.time())
            self._heartbeats.confirmed(self._progress.confirmed, self._loop.time())

    async def _remember(self) -> None:
        """Write down what is acknowledged, then confirm it to the slot; in this order."""
        self._advance()
        position = self._publisher.acknowledged_position
        sequence = self._publisher.acknowledged.sequence
        confirmed = self._progress.confirmed
        if position != self._remembered:
            state = remembered(self._state, sequence, position)
            if not await self._control.write_state(state):
                raise Fenced("a later publisher has taken over this slot's memory")
            self._remembered = position
        self._safe_lsn = max(self._safe_lsn, confirmed)
        self._replication.feedback(self._safe_lsn)

    async def _remember_often(self) -> None:
        # While the snapshot is published, what is remembered says so.
        await self._snapshot_done.wait()
        while True:
            try:
                async with asyncio.timeout(self._settings.cdc_feedback_seconds):
                    await self._reader.answer_wanted.wait()
            except TimeoutError:
                pass
            self._reader.answer_wanted.clear()
            await self._beside.do("memory", self._remember())

    async def _feed_back(self) -> None:
        """Tell the server that we live, also while publishing or remembering hangs."""
        seconds = self._settings.cdc_feedback_seconds
        while True:
            interrupted = self._publisher.interrupted
            # While publishing is interrupted nothing is read, and no word would be heard.
            self._replication.feedback(self._safe_lsn, ask=not interrupted)
            self._publisher.report()
            self.report.lag(
                self._publisher.acknowledged_position,
                self._publisher.acknowledged.sequence,
                self._loop.time(),
            )
            # Reading may wait for publishing; that is progress as long as publishing makes some,
            # or knows that it does not and tries.
            acknowledged = self._publisher.acknowledged.messages
            moved = self._progress.sent, self._progress.confirmed
            rests = interrupted or self.report.held_back or not self._snapshot_done.is_set()
            self._return.turn(moved, seconds, rests=rests)
            if self._beside.watch(
                acknowledged, self._reader.heard, seconds, interrupted=interrupted
            ):
                self._health.progress()
            await asyncio.sleep(seconds)

    async def _watch_for_shutdown(self) -> None:
        while True:
            await asyncio.sleep(self._settings.cdc_heartbeat_seconds)
            await self._control.let_go_if_shutting_down()

    async def _beat(self) -> None:
        while True:
            await self._beside.do("heartbeat", self._one_beat())
            await asyncio.sleep(self._settings.cdc_heartbeat_seconds)

    async def _one_beat(self) -> None:
        await self._control.look()
        self.report.slot(await self._control.slot())
        self._reader.xid_reference = await self._control.xid_reference()
        await self._control.emit_heartbeat(self._heartbeats)

    async def _finish(self) -> None:
        """Nothing more is read; what was read is published and remembered."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._publisher.drained()
        except TimeoutError:
            log.warning("stopping with messages in flight", in_flight=self._publisher.in_flight)
        await self._remember()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        return error
    return group
