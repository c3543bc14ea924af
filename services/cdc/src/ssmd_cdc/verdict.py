"""Take the slot if it is whole, and find out where the stream goes on.

Here the facts are gathered; `epoch.decide` says what follows from them.

The order matters. While another process holds the slot, the memory and the stream can still change:
so both are looked at only once the slot streams to us.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

import structlog

from ssmd_cdc.control import Control
from ssmd_cdc.epoch import Continue, NewEpoch, State, Stream, System, decide, next_epoch
from ssmd_cdc.errors import SlotGone
from ssmd_cdc.publish.stream import Streams
from ssmd_cdc.replication.slot import Replication
from ssmd_common.connections.retry import unless_stopped
from ssmd_common.health import Health
from ssmd_common.tasks import end

log = structlog.get_logger(__name__)

T = TypeVar("T")

_PAUSE_SECONDS: Final = 0.5


class Verdict(NamedTuple):
    """What was remembered, where the stream ends, and what follows."""

    state: State | None
    stream: Stream
    decision: Continue | NewEpoch


async def judge(
    control: Control,
    streams: Streams,
    health: Health,
    replication: Replication,
    slot: dict[str, Any] | None,
    system: System,
    *,
    failover: bool,
    unusable: tuple[str, str] | None,
) -> Verdict:
    """Where it says to go on, `replication` streams. `slot` is the row of it, `failover` whether
    standbys shall keep a copy; `unusable` is what an earlier session found out against it.
    """
    gone = None
    if slot is None:
        gone = "slot_missing", "the slot is not there"
    elif await control.slot_is_anothers():
        gone = "slot_recreated", "the slot was dropped and made again by someone else"
    else:
        try:
            wanted = failover and replication.has_failover
            if slot["failover"] != wanted:
                await replication.set_failover(wanted)
                log.info("slot altered", failover=wanted)
            await replication.start()
        except SlotGone as error:
            # It gave up the slot's WAL: max_slot_wal_keep_size.
            gone = "slot_lost", f"the server refuses the slot: {error}"
    state = await control.read_state()
    stream = await streams.look()
    gone = gone or unusable
    if gone is None:
        decision = decide(state, stream, system, bool(slot and slot["synced"]))
        if state is None or isinstance(decision, NewEpoch):
            return Verdict(state, stream, decision)
        if not await _mixed(streams, health, replication, state, stream):
            return Verdict(state, stream, decision)
        gone = "stream_mixed", "someone else wrote to the stream"
    if state is None:
        gone = "first_start", "nothing was published from this slot yet"
    return Verdict(state, stream, NewEpoch(next_epoch(state, stream), *gone))


async def _mixed(
    streams: Streams, health: Health, replication: Replication, state: State, stream: Stream
) -> bool:
    """Whether someone else wrote to the stream since what is remembered."""

    def live() -> None:
        health.progress()
        replication.feedback(0)

    # There may be a million messages, and the server waits only so long for a word from us.
    return await unless_stopped(patiently(streams.mixed_since(state, stream), meanwhile=live))


async def patiently(work: Coroutine[Any, Any, T], *, meanwhile: Callable[[], None]) -> T:
    """What the work returns, however long it takes; twice a second `meanwhile` is called."""
    task = asyncio.create_task(work, name="cdc-prepare")
    try:
        while not task.done():
            meanwhile()
            await asyncio.wait({task}, timeout=_PAUSE_SECONDS)
        return task.result()
    finally:
        await end(task)
