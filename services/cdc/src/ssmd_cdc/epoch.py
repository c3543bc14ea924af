"""Go on where the stream ends, or begin a new epoch: the decision, from what is known at start.

Pure. What the stream's tail cannot tell is remembered in `cdc_state` (docs/architecture.md,
decision 3).
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from ssmd_stream.change import Position, format_lsn, parse_lsn

_HISTORY: Final = re.compile(r"^\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)", re.MULTILINE)

ANNOUNCING: Final = -1
"""`State.seq` from the start of an epoch until all of its re-announcement is acknowledged."""


class System(msgspec.Struct, frozen=True):
    """The PostgreSQL cluster: IDENTIFY_SYSTEM, and TIMELINE_HISTORY.

    `left_at`: the LSN at which its history left each timeline before `timeline`.
    """

    identifier: str
    timeline: int
    wal_lsn: int
    left_at: Mapping[int, int] = {}


class State(msgspec.Struct, frozen=True):
    """A row of `cdc_state`: what was acknowledged when the slot was last confirmed."""

    epoch: int
    system_identifier: str
    timeline: int
    stream_created: str
    stream_sequence: int
    lsn: int
    seq: int


class Tail(msgspec.Struct, frozen=True):
    """The stream's last message that is still there.

    `announcing`: it belongs to a re-announcement and is not its final end. `position` is None for
    a message that no publisher of ours wrote.
    """

    sequence: int
    position: Position | None
    announcing: bool


class Stream(msgspec.Struct, frozen=True):
    """The stream as it is; `tail` is None when it holds no message."""

    created: str
    last_sequence: int
    tail: Tail | None


class Continue(msgspec.Struct, frozen=True):
    """Publish what comes after `position`, in its epoch; `reason` is why a promotion allows it."""

    position: Position
    reason: str | None = None


class NewEpoch(msgspec.Struct, frozen=True):
    """Re-announce everything; `cause` is a word for metrics, `reason` a sentence for the log."""

    epoch: int
    cause: str
    reason: str


def decide(
    state: State | None, stream: Stream, system: System, synced: bool = False
) -> Continue | NewEpoch:
    """What to do with a slot that exists and is whole.

    `synced`: a standby kept it in step with that of its primary, and was promoted since.
    """
    known = _known_position(state, stream)

    def begin(cause: str, reason: str) -> NewEpoch:
        return NewEpoch(next_epoch(state, stream), cause, reason)

    if state is None:
        return begin("first_start", "this slot was never published from")
    if state.system_identifier != system.identifier:
        return begin("other_system", "the database is another cluster than before")
    promoted = state.timeline != system.timeline
    if promoted and not synced:
        return begin("other_timeline", "the database was promoted or restored")
    if state.stream_created != stream.created:
        return begin("stream_recreated", "the stream was deleted and made anew")
    if stream.last_sequence < state.stream_sequence:
        return begin("stream_behind", "the stream was restored from before what was acknowledged")
    if known is None:
        return begin("stream_unknown", "the stream's end was deleted, so its position is not known")
    if known.epoch < state.epoch and state.seq == ANNOUNCING:
        # These are late writes of the publisher before, which was killed: ours was yet to begin.
        return begin("unfinished", "the last re-announcement was cut short before it began")
    if known.epoch != state.epoch:
        return begin("foreign_epoch", "the stream's tail is of another epoch than ours")
    if promoted and (doubt := _doubt_of_promotion(state.timeline, known, system)):
        return begin("other_timeline", doubt)
    if known.lsn > system.wal_lsn:
        return begin("wal_behind", "the stream is ahead of the database, which was restored")
    announcing = (
        stream.tail.announcing
        if stream.tail and stream.tail.sequence == stream.last_sequence
        else state.seq == ANNOUNCING
    )
    if announcing:
        return begin("unfinished", "the last re-announcement was cut short")
    if not promoted:
        return Continue(known)
    return Continue(
        known,
        f"the promoted server has all that was published: the stream ends at {known}, and timeline "
        f"{state.timeline} was left at {format_lsn(system.left_at[state.timeline])}",
    )


def _doubt_of_promotion(timeline: int, known: Position, system: System) -> str | None:
    """Why the promoted server may lack something that was published; None if it has it all.

    A change is published under the LSN of its commit record. The servers have the same WAL up to
    where the timeline was left, which is the end of a record: one that begins before is whole.
    """
    left_at = system.left_at.get(timeline)
    if left_at is None:
        return f"the database's history does not come from timeline {timeline}"
    if known.lsn >= left_at:
        return (
            f"the promoted server lacks what was published: the stream ends at {known}, and "
            f"timeline {timeline} was left at {format_lsn(left_at)}, before that"
        )
    return None


def history(text: str) -> dict[int, int]:
    """A timeline's history file: where each timeline before it was left."""
    return {int(number): parse_lsn(lsn) for number, lsn in _HISTORY.findall(text)}


def next_epoch(state: State | None, stream: Stream) -> int:
    """Larger than every epoch that anyone may have seen."""
    tail = stream.tail.position if stream.tail else None
    return max(state.epoch if state else 0, tail.epoch if tail else 0) + 1


def _known_position(state: State | None, stream: Stream) -> Position | None:
    if stream.tail and stream.tail.sequence == stream.last_sequence:
        return stream.tail.position
    # The last message aged out or was purged: the one remembered is as good if it was the last.
    if state and state.stream_sequence == stream.last_sequence:
        return Position(state.epoch, state.lsn, state.seq)
    return None
