"""Go on or begin anew: every case that the slot, the memory and the stream can be in."""

from typing import Any

import msgspec
import pytest

from ssmd_cdc.epoch import (
    ANNOUNCING,
    Continue,
    NewEpoch,
    State,
    Stream,
    System,
    Tail,
    decide,
    history,
)
from ssmd_cdc.errors import MarksMissing
from ssmd_cdc.replication.heartbeat import STILL_SECONDS, Heartbeats, Return
from ssmd_cdc.replication.progress import Progress
from ssmd_stream.change import Position

SYSTEM = System("7300000000000000001", 1, 5000)
STATE = State(3, SYSTEM.identifier, 1, "2026-01-01T00:00:00Z", 100, 4000, 7)
TAIL = Tail(100, Position(3, 4000, 7), False)
STREAM = Stream("2026-01-01T00:00:00Z", 100, TAIL)


def changed(struct: Any, **values: Any) -> Any:
    return msgspec.structs.replace(struct, **values)


def test_going_on_from_the_tail() -> None:
    assert decide(STATE, STREAM, SYSTEM) == Continue(Position(3, 4000, 7))


def test_the_tail_is_ahead_of_the_memory_after_a_crash() -> None:
    stream = changed(STREAM, last_sequence=120, tail=Tail(120, Position(3, 4200, 1), False))
    assert decide(STATE, stream, SYSTEM) == Continue(Position(3, 4200, 1))


def test_a_stream_that_aged_out_while_everything_was_off_goes_on_from_memory() -> None:
    stream = changed(STREAM, tail=None)
    assert decide(STATE, stream, SYSTEM) == Continue(Position(3, 4000, 7))


@pytest.mark.parametrize(
    ("state", "stream", "system", "cause"),
    [
        (None, STREAM, SYSTEM, "first_start"),
        (STATE, STREAM, changed(SYSTEM, identifier="8"), "other_system"),
        (STATE, STREAM, changed(SYSTEM, timeline=2), "other_timeline"),
        (STATE, changed(STREAM, created="2026-01-02"), SYSTEM, "stream_recreated"),
        (STATE, changed(STREAM, last_sequence=99), SYSTEM, "stream_behind"),
        (STATE, changed(STREAM, last_sequence=101, tail=None), SYSTEM, "stream_unknown"),
        (STATE, changed(STREAM, last_sequence=101), SYSTEM, "stream_unknown"),
        (STATE, changed(STREAM, tail=Tail(100, None, False)), SYSTEM, "stream_unknown"),
        (
            STATE,
            changed(STREAM, tail=Tail(100, Position(4, 1, 0), False)),
            SYSTEM,
            "foreign_epoch",
        ),
        (changed(STATE, seq=ANNOUNCING, epoch=4), STREAM, SYSTEM, "unfinished"),
        (changed(STATE, epoch=4), STREAM, SYSTEM, "foreign_epoch"),
        (changed(STATE, seq=ANNOUNCING, epoch=2), STREAM, SYSTEM, "foreign_epoch"),
        (STATE, STREAM, changed(SYSTEM, wal_lsn=3999), "wal_behind"),
        (STATE, changed(STREAM, tail=changed(TAIL, announcing=True)), SYSTEM, "unfinished"),
        (changed(STATE, seq=ANNOUNCING), changed(STREAM, tail=None), SYSTEM, "unfinished"),
    ],
)
def test_a_new_epoch(state: Any, stream: Any, system: Any, cause: str) -> None:
    verdict = decide(state, stream, system)
    assert isinstance(verdict, NewEpoch)
    assert verdict.cause == cause
    assert verdict.epoch > (state.epoch if state else 0)
    if stream.tail and stream.tail.position:
        assert verdict.epoch > stream.tail.position.epoch


def test_only_the_contiguous_prefix_of_acknowledged_transactions_is_confirmed() -> None:
    progress = Progress(confirmed=0)
    for end_lsn, messages in ((10, 2), (20, 0), (30, 1)):
        progress.began()
        progress.sent += messages
        progress.ended(end_lsn, 0.0)
    assert progress.advance(0) == []
    progress.advance(1)
    assert progress.confirmed == 0
    progress.advance(2)
    # The second has no messages, but it was not confirmed before the first.
    assert progress.confirmed == 20
    progress.keepalive(99)
    assert progress.confirmed == 20
    progress.advance(3)
    assert progress.confirmed == 30
    progress.keepalive(99)
    assert progress.confirmed == 99


def test_a_keepalive_inside_a_transaction_confirms_nothing() -> None:
    progress = Progress(confirmed=5)
    progress.began()
    progress.keepalive(50)
    assert progress.confirmed == 5


PROMOTED = System(SYSTEM.identifier, 3, 5000, {1: 4001, 2: 4500})


def test_a_promoted_server_that_has_the_streams_end_goes_on() -> None:
    verdict = decide(STATE, STREAM, PROMOTED, True)
    assert isinstance(verdict, Continue)
    assert verdict.position == Position(3, 4000, 7)
    assert "has all that was published" in str(verdict.reason)


@pytest.mark.parametrize(
    ("system", "synced", "word"),
    [
        # The record of the last commit begins where the timeline was left, or later.
        (changed(PROMOTED, left_at={1: 4000}), True, "lacks what was published"),
        (changed(PROMOTED, left_at={1: 100}, wal_lsn=200), True, "lacks what was published"),
        (changed(PROMOTED, left_at={2: 4500}), True, "does not come from timeline 1"),
        (changed(PROMOTED, left_at={}), True, "does not come from timeline 1"),
        # Another kind of slot: it may have been made on the new timeline.
        (PROMOTED, False, "promoted or restored"),
    ],
)
def test_a_promoted_server_of_which_that_is_not_known_begins_a_new_epoch(
    system: System, synced: bool, word: str
) -> None:
    verdict = decide(STATE, STREAM, system, synced)
    assert isinstance(verdict, NewEpoch)
    assert verdict.cause == "other_timeline"
    assert word in verdict.reason


def test_a_synced_slot_is_no_reason_to_go_on_after_anything_else() -> None:
    stream = changed(STREAM, created="2026-01-02")
    verdict = decide(STATE, stream, PROMOTED, True)
    assert isinstance(verdict, NewEpoch)
    assert verdict.cause == "stream_recreated"


def test_a_timelines_history() -> None:
    text = "# made by hand\n1\t0/3000060\tno recovery target specified\n\n2\t1A/FF\tbefore 2000\n"
    assert history(text) == {1: 0x3000060, 2: 0x1A000000FF}


def test_a_mark_is_awaited_from_its_commit_until_it_comes_back() -> None:
    marks = Heartbeats()
    first, second = marks.mark(0), marks.mark(1)
    assert marks.awaited() is None, "it is not known to be committed"
    marks.wrote(first, 100)
    marks.wrote(second, 200)
    assert marks.awaited() == 100
    marks.saw(first)
    assert marks.awaited() == 200
    early = marks.mark(2)
    marks.saw(early)
    marks.wrote(early, 300)
    marks.forget(second)
    assert marks.awaited() is None


def test_a_slot_that_sends_nothing_while_marks_are_written_is_left() -> None:
    marks = Heartbeats()
    back = Return(marks)
    back.turn("a", STILL_SECONDS, rests=False)
    back.turn("a", STILL_SECONDS, rests=False)
    marks.wrote(marks.mark(0), 100)
    back.turn("a", STILL_SECONDS - 1, rests=False)
    back.turn("b", 1.0, rests=False)
    back.passed(50)
    back.turn("b", STILL_SECONDS, rests=False)
    back.turn("b", STILL_SECONDS, rests=True)
    back.turn("b", STILL_SECONDS - 1, rests=False)
    with pytest.raises(MarksMissing):
        back.turn("b", 1.0, rests=False)


def test_a_mark_that_the_wal_has_passed_by_is_missing() -> None:
    marks = Heartbeats()
    back = Return(marks)
    first = marks.mark(0)
    marks.wrote(first, 100)
    back.passed(100)
    marks.saw(first)
    back.passed(200)
    marks.wrote(marks.mark(0), 300)
    with pytest.raises(MarksMissing):
        back.passed(301)
