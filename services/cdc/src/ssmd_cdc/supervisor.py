"""The supervisor: take the slot, decide where the stream goes on, follow the WAL; and again.

Each turn is one replication session. The supervisor looks at the slot, at the memory (`cdc_state`)
and at the stream's end (`verdict`); `epoch.decide` says from these whether the stream goes on, or a
new epoch begins with a new slot and a snapshot. Then a `ReplicationSession` reads and a
`StreamPublisher` publishes, until something breaks. What follows from that is in `recovery`.

Where another process streams from the slot, this one stands by.
"""

import asyncio
from typing import Any, Final

import msgspec
import structlog
from nats.aio.client import Client

from ssmd_cdc import metrics
from ssmd_cdc.control import Control
from ssmd_cdc.epoch import ANNOUNCING, Continue, NewEpoch, State, Stream, System
from ssmd_cdc.errors import SlotBusy, SlotRefused
from ssmd_cdc.publish.stream import Streams
from ssmd_cdc.publish.stream_publisher import StreamPublisher
from ssmd_cdc.recovery import SESSION_ENDS, Recovery
from ssmd_cdc.replication.session import ReplicationSession
from ssmd_cdc.replication.slot import Replication, open_replication
from ssmd_cdc.replication.snapshot import Snapshot, open_snapshot
from ssmd_cdc.settings import CdcSettings
from ssmd_cdc.verdict import judge, patiently
from ssmd_common.connections.session import Session
from ssmd_common.metrics import LEADER
from ssmd_common.runtime import Runtime
from ssmd_common.tasks import raise_if_cancelled
from ssmd_stream.change import Position, parse_lsn
from ssmd_stream.errors import Fenced

log = structlog.get_logger(__name__)

_RELEASE_SECONDS: Final = 0.02

_NO_FAILOVER: Final = (
    "PostgreSQL is older than 17 and has no failover slots: set CDC_SLOT_FAILOVER to false, or a "
    "promoted standby begins a new epoch whatever it says"
)


class Supervisor:
    """Sessions, one after the other, for as long as the service runs."""

    def __init__(
        self, runtime: Runtime, settings: CdcSettings, client: Client, control: Control
    ) -> None:
        self._runtime = runtime
        self._health = runtime.health
        self._settings = settings
        self._control = control
        self._streams = Streams(client, settings)
        self._recovery = Recovery(runtime, settings.cdc_outage_budget_seconds)

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
                await self._recovery.stand_by()
            except SESSION_ENDS as error:
                await self._recovery.recover(error)
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
            state, stream, decision = await judge(
                self._control,
                self._streams,
                self._health,
                replication,
                slot,
                system,
                failover=self._settings.cdc_slot_failover,
                unusable=self._recovery.unusable,
            )
            raise_if_cancelled()
            if isinstance(decision, Continue):
                assert state is not None
                await self._go_on(replication, state, stream, system, decision)
                return
        await self._released(replication.backend)
        async with open_replication(self._settings, beside) as replication:
            await self._begin(replication, beside, slot, stream, system, decision)

    def _tell_failover(self, replication: Replication) -> None:
        refused = self._settings.cdc_slot_failover and not replication.has_failover
        self._health.degrade("failover", _NO_FAILOVER if refused else None)

    async def _released(self, backend: int) -> None:
        """Wait until the server knows that this connection of ours is closed, and the slot free."""
        while (slot := await self._control.slot()) and slot["active_pid"] == backend:
            self._health.progress()
            if await self._runtime.stopped_within(_RELEASE_SECONDS):
                return

    async def _go_on(
        self,
        replication: Replication,
        state: State,
        stream: Stream,
        system: System,
        decision: Continue,
    ) -> None:
        told = {} if decision.reason is None else {"reason": decision.reason}
        log.info(
            "going on",
            position=str(decision.position),
            stream_sequence=stream.last_sequence,
            **told,
        )
        if state.timeline != system.timeline:
            state = msgspec.structs.replace(state, timeline=system.timeline)
            if not await self._control.write_state(state):
                raise Fenced("a later publisher has taken over this slot's memory")
        slot = await self._control.slot()
        # Nobody else moves it any more. Before a commit it is sent, behind it no longer.
        overlaps = slot is not None and parse_lsn(slot["confirmed"]) <= decision.position.lsn
        await self._follow(replication, state, stream, decision.position, None, overlaps=overlaps)

    async def _begin(
        self,
        replication: Replication,
        beside: Session,
        slot: dict[str, Any] | None,
        stream: Stream,
        system: System,
        decision: NewEpoch,
    ) -> None:
        """Make the slot anew, and publish the snapshot that it starts from.

        `slot` is the one that the decision is about.
        """
        level = log.info if decision.cause == "first_start" else log.error
        level("new epoch", epoch=decision.epoch, cause=decision.cause, reason=decision.reason)
        self._recovery.refuse_rivalry(decision)
        self._recovery.unusable = None
        metrics.EPOCHS.labels(decision.cause).inc()
        state = State(
            epoch=decision.epoch,
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
            position = Position(decision.epoch, consistent_lsn - 1, ANNOUNCING)
            await self._follow(replication, state, stream, position, snapshot, overlaps=False)
        finally:
            await snapshot.close()

    async def _make_slot(self, replication: Replication) -> tuple[int, str]:
        """However long it takes: the server first waits for all transactions that run now."""
        return await patiently(replication.create(), meanwhile=self._health.progress)

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
        publisher = StreamPublisher(
            self._streams.changes,
            self._settings,
            self._health,
            created=stream.created,
            last_sequence=stream.last_sequence,
            position=position,
        )
        session = ReplicationSession(
            self._runtime,
            self._settings,
            self._control,
            replication,
            publisher,
            state,
            position,
            await self._control.xid_reference(),
            overlaps=overlaps,
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await session.run(snapshot)
        finally:
            self._recovery.lasted(loop.time() - began, flowed=session.report.flowed)
