"""Go on or begin anew: every case that the slot, the memory and the stream can be in."""

from typing import Any

import msgspec
import pytest

from ssmd_cdc.epoch import ANNOUNCING, Continue, NewEpoch, State, Stream, System, Tail, decide
from ssmd_cdc.progress import Progress
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
    assert progress.advance() == []
    progress.acknowledged = 1
    progress.advance()
    assert progress.confirmed == 0
    progress.acknowledged = 2
    progress.advance()
    # The second has no messages, but it was not confirmed before the first.
    assert progress.confirmed == 20
    progress.keepalive(99)
    assert progress.confirmed == 20
    progress.acknowledged = 3
    progress.advance()
    assert progress.confirmed == 30
    progress.keepalive(99)
    assert progress.confirmed == 99


def test_a_keepalive_inside_a_transaction_confirms_nothing() -> None:
    progress = Progress(confirmed=5)
    progress.began()
    progress.keepalive(50)
    assert progress.confirmed == 5
