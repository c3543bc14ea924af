"""The supervisor: take the slot, decide where the stream goes on, follow the WAL; and again.

Each turn is one replication session. The supervisor looks at the slot, at the memory (`cdc_state`)
and at the stream's end; `epoch.decide` says from these whether the stream goes on, or a new epoch
begins with a new slot and a snapshot. Then a `ReplicationSession` reads and a `StreamPublisher`
publishes, until something breaks.

Where another process streams from the slot, this one stands by. Where a session fails, the next
begins after a pause; the process ends once no session has lasted for `CDC_OUTAGE_BUDGET_SECONDS`.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec
import structlog
from nats.aio.client import Client

from ssmd_cdc import metrics
from ssmd_cdc.control import Control
from ssmd_cdc.epoch import (
    ANNOUNCING,
    Continue,
    NewEpoch,
    State,
    Stream,
    System,
    decide,
    next_epoch,
)
from ssmd_cdc.errors import (
    Fenced,
    MalformedMessage,
    MayNot,
    ServerReadOnly,
    SessionEnded,
    SlotBusy,
    SlotGone,
    SlotRefused,
    WalDiverged,
)
from ssmd_cdc.publish.stream import ApiError, Streams, StreamUnavailable
from ssmd_cdc.publish.stream_publisher import StreamPublisher
from ssmd_cdc.replication.session import ReplicationSession
from ssmd_cdc.replication.slot import Replication, open_replication
from ssmd_cdc.replication.snapshot import Snapshot, open_snapshot
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections.retry import unless_stopped
from ssmd_common.connections.session import Session
from ssmd_common.errors import ConfigurationError, SsmdError, UpstreamUnavailable
from ssmd_common.metrics import LAG_SECONDS, LEADER
from ssmd_common.runtime import Runtime
from ssmd_common.tasks import end, raise_if_cancelled
from ssmd_stream.change import Position, parse_lsn

log = structlog.get_logger(__name__)

T = TypeVar("T")

_STANDBY_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.5
_RELEASE_SECONDS: Final = 0.02
_RIVALRY: Final = 3
"""So often someone else was faster: someone lives."""

_FORGIVEN_SECONDS: Final = 600.0
"""After so long in a ready session, whoever was faster is gone."""

_NO_FAILOVER: Final = (
    "PostgreSQL is older than 17 and has no failover slots: set CDC_SLOT_FAILOVER to false, or a "
    "promoted standby begins a new epoch whatever it says"
)

_OF_LEADER: Final = (
    LAG_SECONDS,
    metrics.SLOT_LAG_BYTES,
    metrics.SLOT_RETAINED_BYTES,
    metrics.SLOT_SAFE_BYTES,
    metrics.HEARTBEAT_SECONDS,
    metrics.IN_FLIGHT,
    metrics.IN_FLIGHT_BYTES,
)


class Supervisor:
    """Sessions, one after the other, for as long as the service runs."""

    def __init__(
        self, runtime: Runtime, settings: CdcSettings, client: Client, control: Control
    ) -> None:
        self._runtime = runtime
        self._health = runtime.health
        self._settings = settings
        self._client = client
        self._control = control
        self._streams = Streams(client, settings)
        self._failing_since: float | None = None
        self._fenced = 0
        self._diverged = False
        self._flowed = False

    async def run(self) -> None:
        """Publish until the service stops.

        Raises:
            SsmdError: what an operator has to mend.
        """
        self._health.set("slot", "the slot is not taken yet")
        while not self._runtime.stop.is_set():
            try:
                await self._session()
            except SlotBusy:
                await self._stand_by()
            except (SessionEnded, StreamUnavailable, ApiError, MayNot, MalformedMessage) as error:
                if isinstance(error, MayNot) and not self._flowed:
                    # It never worked: nobody took the right away meanwhile.
                    raise ConfigurationError(str(error)) from error
                await self._recover(error)
            finally:
                LEADER.set(0)

    async def _session(self) -> None:
        # One that stands by keeps a connection, too.
        await self._control.let_go_if_shutting_down()
        async with self._control.pinned() as beside:
            await self._session_on(beside)

    async def _session_on(self, beside: Session) -> None:
        """One session, of which all connections are on the server of `beside`."""
        await self._control.prepare()
        slot = await self._control.slot()
        if slot and slot["active"]:
            raise SlotBusy("another process streams from the slot")
        if slot and (slot["plugin"] != "pgoutput" or slot["database"] != slot["here"]):
            raise SlotRefused(
                f"the slot {self._settings.cdc_slot} belongs to another program (plugin "
                f"{slot['plugin']}, database {slot['database']}): set CDC_SLOT to another name"
            )
        await self._streams.ensure()
        async with open_replication(self._settings, beside) as replication:
            self._tell_failover(replication)
            system = await replication.identify()
            state, stream, verdict = await self._verdict(replication, slot, system)
            raise_if_cancelled()
            if isinstance(verdict, Continue):
                assert state is not None
                await self._go_on(replication, state, stream, system, verdict)
                return
        await self._released(replication.backend)
        async with open_replication(self._settings, beside) as replication:
            await self._begin(replication, beside, slot, stream, system, verdict)

    def _tell_failover(self, replication: Replication) -> None:
        refused = self._settings.cdc_slot_failover and not replication.has_failover
        self._health.degrade("failover", _NO_FAILOVER if refused else None)

    async def _released(self, backend: int) -> None:
        """Wait until the server knows that this connection of ours is closed, and the slot free."""
        while (slot := await self._control.slot()) and slot["active_pid"] == backend:
            self._health.progress()
            if await self._runtime.stopped_within(_RELEASE_SECONDS):
                return

    async def _verdict(
        self, replication: Replication, slot: dict[str, Any] | None, system: System
    ) -> tuple[State | None, Stream, Continue | NewEpoch]:
        """Take the slot if it is whole, and decide; then `replication` streams."""
        gone = None
        if slot is None:
            gone = "slot_missing", "the slot is not there"
        elif await self._control.slot_is_anothers():
            gone = "slot_recreated", "the slot was dropped and made again by someone else"
        else:
            try:
                wanted = self._settings.cdc_slot_failover and replication.has_failover
                if slot["failover"] != wanted:
                    await replication.set_failover(wanted)
                    log.info("slot altered", failover=wanted)
                await replication.start()
            except SlotGone as error:
                # It gave up the slot's WAL: max_slot_wal_keep_size.
                gone = "slot_lost", f"the server refuses the slot: {error}"
        # Only now: while another process held the slot, both could still change.
        state = await self._control.read_state()
        stream = await self._streams.look()
        if gone is None and self._diverged:
            gone = "wal_diverged", "the WAL is not what was published: the database was restored"
        if gone is None:
            verdict = decide(state, stream, system, bool(slot and slot["synced"]))
            if state is None or isinstance(verdict, NewEpoch):
                return state, stream, verdict
            if not await self._mixed(replication, state, stream):
                return state, stream, verdict
            gone = "stream_mixed", "someone else wrote to the stream"
        if state is None:
            gone = "first_start", "nothing was published from this slot yet"
        return state, stream, NewEpoch(next_epoch(state, stream), *gone)

    async def _go_on(
        self,
        replication: Replication,
        state: State,
        stream: Stream,
        system: System,
        verdict: Continue,
    ) -> None:
        told = {} if verdict.reason is None else {"reason": verdict.reason}
        log.info(
            "going on",
            position=str(verdict.position),
            stream_sequence=stream.last_sequence,
            **told,
        )
        if state.timeline != system.timeline:
            state = msgspec.structs.replace(state, timeline=system.timeline)
            if not await self._control.write_state(state):
                raise Fenced("a later publisher has taken over this slot's memory")
        slot = await self._control.slot()
        # Nobody else moves it any more. Before a commit it is sent, behind it no longer.
        overlaps = slot is not None and parse_lsn(slot["confirmed"]) <= verdict.position.lsn
        await self._follow(replication, state, stream, verdict.position, None, overlaps=overlaps)

    async def _begin(
        self,
        replication: Replication,
        beside: Session,
        slot: dict[str, Any] | None,
        stream: Stream,
        system: System,
        verdict: NewEpoch,
    ) -> None:
        """Make the slot anew, and publish the snapshot that it starts from.

        `slot` is the one that the verdict is about.
        """
        level = log.info if verdict.cause == "first_start" else log.error
        level("new epoch", epoch=verdict.epoch, cause=verdict.cause, reason=verdict.reason)
        self._refuse_rivalry(verdict)
        self._diverged = False
        metrics.EPOCHS.labels(verdict.cause).inc()
        state = State(
            epoch=verdict.epoch,
            system_identifier=system.identifier,
            timeline=system.timeline,
            stream_created=stream.created,
            stream_sequence=stream.last_sequence,
            lsn=system.wal_lsn,
            seq=ANNOUNCING,
        )
        if not await self._control.write_state(state):
            raise Fenced("a later publisher has taken over this slot's memory")
        if slot is not None:
            await replication.drop()
        self._health.set("slot", "the slot is being made, after all transactions that run now")
        made = await self._runtime.until_stop(self._make_slot(replication))
        if made is None:
            return
        consistent_lsn, name = made
        snapshot = await open_snapshot(self._settings, name, beside)
        try:
            await replication.start()
            slot = await self._control.slot()
            if slot is None or parse_lsn(slot["confirmed"]) != consistent_lsn:
                # Until it streams anyone may drop it, and the snapshot belongs to this one only.
                raise SlotBusy("another replica made the slot anew")
            # One below the consistent point: a transaction may commit exactly there.
            position = Position(verdict.epoch, consistent_lsn - 1, ANNOUNCING)
            await self._follow(replication, state, stream, position, snapshot, overlaps=False)
        finally:
            await snapshot.close()

    async def _mixed(self, replication: Replication, state: State, stream: Stream) -> bool:
        """Whether someone else wrote to the stream since what is remembered."""

        def live() -> None:
            self._health.progress()
            replication.feedback(0)

        # There may be a million messages, and the server waits only so long for a word from us.
        return await unless_stopped(
            self._patiently(self._streams.mixed_since(state, stream), meanwhile=live)
        )

    async def _make_slot(self, replication: Replication) -> tuple[int, str]:
        """However long it takes: the server first waits for all transactions that run now."""
        return await self._patiently(replication.create(), meanwhile=self._health.progress)

    async def _patiently(self, work: Coroutine[Any, Any, T], *, meanwhile: Callable[[], None]) -> T:
        task = asyncio.create_task(work, name="cdc-prepare")
        try:
            while not task.done():
                meanwhile()
                await asyncio.wait({task}, timeout=_PAUSE_SECONDS)
            return task.result()
        finally:
            await end(task)

    async def _follow(
        self,
        replication: Replication,
        state: State,
        stream: Stream,
        position: Position,
        snapshot: Snapshot | None,
        *,
        overlaps: bool,
    ) -> None:
        LEADER.set(1)
        metrics.EPOCH.set(position.epoch)
        self._health.state = "leading"
        self._health.set("slot", None)
        self._health.set("lag", "no mark in the WAL has come back yet")
        session = ReplicationSession(
            self._runtime,
            self._settings,
            self._control,
            replication,
            state,
            position,
            await self._control.xid_reference(),
            overlaps=overlaps,
        )
        publisher = StreamPublisher(
            self._client,
            self._streams,
            self._settings,
            self._health,
            epoch=position.epoch,
            stream=stream,
            position=position,
            on_acknowledged=session.acknowledged,
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await session.run(publisher, snapshot)
        finally:
            lasted = loop.time() - began
            self._flowed = self._flowed or session.flowed
            if session.flowed or lasted > self._settings.cdc_outage_budget_seconds:
                self._failing_since = None
            if session.flowed and lasted > _FORGIVEN_SECONDS:
                self._fenced = 0

    async def _stand_by(self) -> None:
        if self._health.state != "standby":
            log.info("standing by, another process streams from the slot")
            # What it knew as the leader is not so any more.
            self._health.position, self._health.lag_seconds = {}, None
            self._health.degrade("stream", None)
            for gauge in _OF_LEADER:
                gauge.set(math.nan)
            for name in "nats", "lag", "postgres", "dead_letters":
                self._health.conditions.pop(name, None)
        self._health.state = "standby"
        self._health.set("slot", "another process streams from the slot; this one stands by")
        self._health.progress()
        self._failing_since = None
        await self._runtime.stopped_within(_STANDBY_SECONDS)

    async def _recover(self, error: Exception) -> None:
        """Note why the session ended, and wait a moment; past the budget, end the process."""
        if isinstance(error, ServerReadOnly):
            await self._wait_for_writes(error)
            return
        cause = error.cause if isinstance(error, SessionEnded) else type(error).__name__.lower()
        metrics.RESTARTS.labels(cause).inc()
        self._health.failed("session", error)
        self._health.progress()
        self._health.set("slot", f"the session ended: {error}")
        self._fenced += isinstance(error, Fenced)
        self._diverged = self._diverged or isinstance(error, WalDiverged)
        log.error("session ended", cause=cause, error=str(error))
        now = asyncio.get_running_loop().time()
        self._failing_since = self._failing_since or now
        if now - self._failing_since > self._settings.cdc_outage_budget_seconds:
            if isinstance(error, MayNot):
                raise ConfigurationError(str(error)) from error
            raise UpstreamUnavailable(
                f"no session lasted for {self._settings.cdc_outage_budget_seconds:g} s "
                f"({error}): check DATABASE_URL, NATS_URL and that both servers run"
            ) from error
        await self._runtime.stopped_within(_PAUSE_SECONDS)

    async def _wait_for_writes(self, error: ServerReadOnly) -> None:
        """A server that answers is waited for as long as it takes, and told of once."""
        if self._health.conditions.get("slot") != str(error):
            metrics.RESTARTS.labels(error.cause).inc()
            self._health.failed("session", error)
            self._health.set("slot", str(error))
            log.warning("waiting for writes", reason=str(error))
        self._health.progress()
        self._failing_since = None
        await self._runtime.stopped_within(_PAUSE_SECONDS)

    def _refuse_rivalry(self, verdict: NewEpoch) -> None:
        # Beginning anew each time would make two publishers fence each other for ever. Late
        # writes of one that was killed come only once.
        if (verdict.cause == "foreign_epoch" and self._fenced) or (
            verdict.cause == "unfinished" and self._fenced >= _RIVALRY
        ):
            raise SsmdError(
                "another publisher writes to the stream, from another slot or database: stop it, "
                "or give one of them its own NATS server or account"
            )
