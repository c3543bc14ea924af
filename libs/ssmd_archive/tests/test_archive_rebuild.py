"""Rows from files alone are those that the stream had told of by then."""

import json
import random
import tempfile
from pathlib import Path

import made_archive as made
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_archive import SECOND, Kept, Source

from ssmd_archive.bounds import At, Sequence, Span, read
from ssmd_archive.catalog import Archive
from ssmd_archive.errors import NoArchive, NotArchived
from ssmd_archive.losses import losses, spans
from ssmd_archive.overview import days
from ssmd_archive.rebuild import Rebuilt, place, rebuild
from ssmd_archive.tickers import tickers
from ssmd_common.tables import PRIMARY_KEY

EXAMPLES = settings(max_examples=settings().max_examples // 4, deadline=None)


def rows(found: Rebuilt[bytes]) -> made.Rows:
    return {
        table: {key: json.loads(row) for key, row in found.replay.rows(table).items()}
        for table in PRIMARY_KEY
    }


def at(root: Path, moment: At | Sequence | None) -> Rebuilt[bytes]:
    archive = Archive(root)
    listed = list(archive.lines())
    where = place(archive, listed, moment)
    return rebuild(archive, listed, where, PRIMARY_KEY, lambda _, row: row)


@EXAMPLES
@given(st.integers(), st.lists(st.sampled_from(["play", "state", "announce", "seal"]), max_size=6))
@example(seed=19, steps=["state"])  # it holds what is published after the archive's end
@example(seed=294, steps=["state", "announce"])  # it holds what a new epoch announces
@example(seed=1517698469, steps=["state"])  # two states after the same message
def test_state_is_what_the_stream_had_told_at_every_sequence(seed: int, steps: list[str]) -> None:
    """Also where a later state holds what was not published then."""
    source = Source(random.Random(seed))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        kept = Kept(root)
        source.play(5)
        source.publish()
        source.say_foreign()
        kept.state(source)
        first = source.sequence
        for step in ["play", *steps, "play"]:
            match step:
                case "play":
                    source.play(12)
                case "announce":
                    source.announce()
                case "state":
                    kept.state(source)
                case _:
                    kept.take(source, seal=True)
        kept.take(source, seal=True)
        kept.writer.close()
        for sequence in {first, source.sequence, *range(first, source.sequence, 7)}:
            found = at(root, Sequence(1, sequence))
            if found.replay.unread:
                assert set(found.replay.unread) <= {"markets", "_other"}
            if not _announcing(source, sequence):
                assert rows(found) == source.after[sequence], sequence
            assert found.lost == []


def _announcing(source: Source, sequence: int) -> bool:
    """Between an epoch's beginning and its end a stream tells of no one moment."""
    begun = False
    for message in source.messages[:sequence]:
        begun = begun or b'"op":"snapshot_begin"' in message.payload
        if b'"final":true' in message.payload:
            begun = False
    return begun


def test_at_a_quiet_moment_it_equals_the_tables(tmp_path: Path) -> None:
    source = Source(random.Random(3))
    kept = Kept(tmp_path)
    source.play(20)
    source.publish()
    kept.state(source)
    source.play(50)
    while source._open:
        source.commit()
    source.publish()
    kept.take(source, seal=True)
    found = at(tmp_path, None)
    assert rows(found) == source.rows
    assert found.at == Sequence(1, source.sequence)
    assert found.replay.is_settled


def test_state_at_a_time_is_that_after_the_last_message_stored_by_then(tmp_path: Path) -> None:
    source = Source(random.Random(4))
    kept = Kept(tmp_path)
    source.play(10)
    source.publish()
    kept.state(source)
    begin = source.sequence
    source.play(60)
    source.publish()
    kept.take(source, seal=True)
    messages = {message.sequence: message.stored_at_ns for message in source.messages}
    archive = Archive(tmp_path)
    listed = list(archive.lines())
    for sequence in range(begin, source.sequence):
        reached = messages[sequence]
        found = place(archive, listed, At(reached)).sequence
        # The clock goes back now and then: the first that is later ends it.
        assert found >= sequence or any(messages[s] > reached for s in range(1, sequence))
        assert found == source.sequence or messages[found + 1] > reached
    assert place(archive, listed, At(made.NOON + 10**18)).sequence == source.sequence
    with pytest.raises(NotArchived, match="the archive begins at"):
        place(archive, listed, At(made.NOON - 10**6 * SECOND))
    with pytest.raises(NotArchived, match="sequence 0 of chain 1 is not archived"):
        place(archive, listed, Sequence(1, 0))


def test_without_a_state_a_whole_announcement_is_enough(tmp_path: Path) -> None:
    source = Source(random.Random(5))
    kept = Kept(tmp_path)
    source.play(20)
    source.announce()
    announced = source.sequence
    source.play(10)
    kept.take(source, seal=True)
    assert rows(at(tmp_path, None)) == source.after[source.sequence]
    assert rows(at(tmp_path, Sequence(1, announced))) == source.after[announced]
    with pytest.raises(NotArchived, match="no state is archived before sequence 1: none is"):
        at(tmp_path, Sequence(1, 1))


def test_what_was_lost_since_the_state_is_said_until_all_is_announced_again(tmp_path: Path) -> None:
    source = Source(random.Random(6))
    kept = Kept(tmp_path)
    source.play(10)
    source.publish()
    source.say_foreign()
    kept.state(source)
    kept.lose(source, 3)
    source.play(10)
    source.publish()
    kept.take(source, seal=True)
    (loss,) = at(tmp_path, None).lost
    assert loss.size >= 3
    assert loss.kind == "hole"
    source.announce()
    source.play(10)
    kept.take(source, seal=True)
    found = at(tmp_path, None)
    assert found.lost == []
    assert rows(found) == source.after[source.sequence]


def test_messages_of_a_span_are_those_of_the_stream(tmp_path: Path) -> None:
    source = Source(random.Random(7))
    kept = Kept(tmp_path)
    source.play(80)
    source.publish()
    kept.take(source, seal=True)
    archive = Archive(tmp_path)
    listed = list(archive.lines())
    found = list(read(archive, listed, Span()))
    assert [(m.line.sequence, m.line.stored_at_ns, m.line.payload) for m in found] == [
        (m.sequence, m.stored_at_ns, m.payload) for m in source.messages
    ]
    for start in range(0, len(found), 5):
        for stop in range(start, len(found), 11):
            bounds = [Sequence(1, found[n].line.sequence) for n in (start, stop)]
            some = list(read(archive, listed, Span(*bounds)))
            assert some == found[start:stop]
            times = At(found[start].reached_ns), At(found[stop].reached_ns)
            some = list(read(archive, listed, Span(*times)))
            assert some == [m for m in found if times[0].ns <= m.reached_ns < times[1].ns]
    only = list(read(archive, listed, Span(), lambda folder: folder == "markets"))
    assert only == [m for m in found if m.folder == "markets"]


def test_days_losses_and_complete_spans(tmp_path: Path) -> None:
    source = made.archive(tmp_path)
    listed = list(Archive(tmp_path).lines())
    first, second = days(listed)
    assert (first.day, second.day) == ("2026-11-28", "2026-11-29")
    assert (first.lost, second.lost) == (2, 0)
    assert [(loss.kind, loss.chain, loss.size) for loss in losses(listed)] == [
        ("hole", 1, 2),
        ("chain", 2, 0),
    ]
    before, after, anew = spans(listed)
    lost = losses(listed)[0]
    assert (before.from_seq, before.to_seq) == (1, lost.from_seq - 1)
    assert (after.chain, after.from_seq) == (1, lost.to_seq + 1)
    assert (anew.chain, anew.from_seq) == (2, 1)
    assert anew.to_seq < source.sequence


def test_tickers_of_a_day_are_those_that_were_there_or_changed(tmp_path: Path) -> None:
    source = Source(random.Random(8))
    kept = Kept(tmp_path)
    source.play(30)
    source.publish()
    kept.state(source)
    source.now = made.NOON + 13 * 3600 * SECOND
    begin = source.sequence
    source.say_foreign()
    source.play(4)
    source.publish()
    kept.state(source)
    source.play(4)
    source.publish()
    kept.take(source, seal=True)
    archive = Archive(tmp_path)
    listed = list(archive.lines())
    found, lost = tickers(archive, listed, "2026-11-29")
    assert lost == []
    expected = set()
    for sequence in range(begin, source.sequence + 1):
        for table in ("series", "events", "markets"):
            expected |= {(table, key[0]) for key in source.after[sequence][table]}
    assert {(ticker.table, ticker.ticker) for ticker in found} == expected
    changed = [message for message in source.messages[begin:] if b'"lsn"' in message.payload]
    assert sum(ticker.changes for ticker in found) == sum(
        message.subject.split(".")[1] in ("series", "events", "markets") for message in changed
    )
    for ticker in found:
        row = source.published[ticker.table].get((ticker.ticker,))
        assert ticker.removed == (row is None)
        if row is not None:
            assert (ticker.series, ticker.status) == (row["series_ticker"], row["status"])
    with pytest.raises(NotArchived, match="the archive has 2026-11-28 to 2026-11-29"):
        tickers(archive, listed, "2026-12-01")


def test_no_archive_an_empty_one_and_one_that_is_being_written(tmp_path: Path) -> None:
    with pytest.raises(NoArchive, match="is no directory"):
        Archive(tmp_path / "x")
    with pytest.raises(NoArchive, match="has no SECMASTER_CDC"):
        Archive(tmp_path)
    (tmp_path / ".archiver.lock").touch()
    archive = Archive(tmp_path)
    assert list(archive.lines()) == archive.days() == []
    with pytest.raises(NotArchived, match="nothing is archived yet"):
        place(archive, [], None)
    source = Source(random.Random(9))
    kept = Kept(tmp_path)
    source.play(30)
    source.publish()
    kept.take(source)
    kept.writer.flush()
    listed = list(archive.lines())
    with (archive.stream / "2026-11-28" / "manifest.jsonl").open("ab") as torn:
        torn.write(b'{"what":"segm')
    assert list(archive.lines()) == listed
