"""Whatever changes in an archive is found, and what a writer leaves is no fault."""

import random
from pathlib import Path

import archived
import made_archive as made
import pytest
from made_archive import Stored

from ssmd_archive.catalog import Archive
from ssmd_archive.verify import verify
from ssmd_archive.writer import Rotation

from .corrupting import KINDS, Corruption


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    made.archive(root)
    return root


def test_what_was_written_is_whole(whole: Path) -> None:
    archived.read(whole / "SECMASTER_CDC", whole=False)
    for deep in (False, True):
        report = verify(Archive(whole), deep=deep)
        assert report.findings == []
        assert report.unfinished == []


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_corruptions_are_found_and_named(whole: Path, count: int) -> None:
    """Each by what `verify` does without `deep`."""
    chance = random.Random(15)
    found = 0
    for number in range(2 * count):
        corruption = Corruption(whole / "SECMASTER_CDC", chance)
        corruption.damage(list(KINDS)[number % len(KINDS)])
        if touched := corruption.touched:
            report = verify(Archive(whole))
            said = " ".join(
                f"{finding.path} {finding.what}"
                for finding in (*report.findings, *report.unfinished)
            )
            # Days that are gone are named by what is left.
            names = touched if corruption.kind != "lose_old_days" else {"lines came before"}
            assert any(name in said for name in names), (corruption.kind, touched, said)
            found += 1
        corruption.undo()
        if found == count:
            break
    assert found == count
    assert verify(Archive(whole), deep=True).findings == []


def test_a_segment_of_some_seconds_goes_on_in_its_window_after_a_crash(tmp_path: Path) -> None:
    """A file's name says the minute only."""
    messages = [
        Stored(n, "cdc.markets.update.S", b'{"type":"x"}', made.NOON + n * 7 * made.SECOND)
        for n in range(1, 4)
    ]
    rotation = Rotation(seconds=1)
    kept = made.Kept(tmp_path, rotation)
    kept.writer.begin_chain("2026-11-28T11:00:00Z", 1, "the archive begins")
    kept.writer.take(messages[:1])
    kept.writer.work()
    kept.writer.seal()
    kept.writer.take(messages[1:2])
    kept.writer.work()
    kept.writer.close()
    again = made.Kept(tmp_path, rotation).writer
    again.recover()
    again.take(messages[1:])
    again.work()
    again.seal()
    assert verify(Archive(tmp_path), deep=True).findings == []
    assert len(archived.read(tmp_path / "SECMASTER_CDC").messages) == 3


def test_a_state_may_end_in_a_later_window_than_it_began_in(tmp_path: Path) -> None:
    """Beside it segments were sealed."""
    messages = [
        Stored(n, "cdc.markets.update.S", b'{"type":"x"}', made.NOON + n * 1000 * made.SECOND)
        for n in range(1, 5)
    ]
    writer = made.Kept(tmp_path).writer
    writer.begin_chain("2026-11-28T11:00:00Z", 1, "the archive begins")
    writer.take(messages[:2])
    writer.work()
    state = writer.state_writer(2)
    state.add("markets", [b'{"ticker":"M"}'])
    writer.take(messages[2:])
    writer.work()
    assert writer.add_state(state, state.finish(), "1:1:", "0/1", 1)
    writer.seal()
    assert verify(Archive(tmp_path), deep=True).findings == []
