"""Whatever the moment at which writing ends: nothing is archived twice, nothing left out."""

import contextlib
import errno
import json
import random
import tempfile
from pathlib import Path
from typing import NamedTuple

import archived
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmd_archive import lines
from ssmd_archive import writer as writers
from ssmd_archive.disk import Disk
from ssmd_archive.layout import SECMASTER_CDC
from ssmd_archive.writer import ArchiveWriter, Rotation

from .crashing_disk import CrashingDisk, PowerLoss

NOON = 1_795_867_200 * 10**9
ROTATION = Rotation(seconds=60, bytes=3000)


class Stored(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    stored_at_ns: int


def made(chance: random.Random, count: int) -> list[Stored]:
    """Messages of some tables and windows, some of them missing, some not to be carried."""
    now, found = NOON + chance.randrange(86_400) * 10**9, []
    for sequence in range(1, count + 1):
        now += chance.choice((0, 1, 10**9, 20 * 10**9, -(10**9), 3600 * 10**9))
        table = chance.choice(("markets", "markets", "events", "series"))
        payload = json.dumps(
            {"v": 1, "type": f"{table}_updated", "n": chance.randrange(10**9), "s": sequence},
            separators=(",", ":"),
        ).encode()
        subject = f"cdc.{table}.update.A"
        if chance.random() < 0.05:
            subject, payload = chance.choice((("cdc.x.y", payload), (subject, b"\xff\n")))
        if chance.random() < 0.95:
            found.append(Stored(sequence, subject, payload, now))
    return found


class Feed:
    """A stream that its writer reads, and whose beginning may go."""

    def __init__(self, messages: list[Stored], chance: random.Random) -> None:
        self.messages = messages
        self.first = 1
        self._chance = chance

    def feed(self, writer: ArchiveWriter) -> bool:
        """Some messages, or something else that happens to a writer; False at the end."""
        if writer.created is None:
            writer.begin_chain("now", 1, "the archive begins")
        writer.expire(self.first)
        coming = [m for m in self.messages if m.sequence >= max(writer.next_sequence, self.first)]
        what = self._chance.random()
        if what < 0.15:
            writer.flush()
        elif what < 0.25:
            writer.seal_if_over(NOON + 200_000 * 10**9)
        else:
            writer.take(coming[: self._chance.randrange(1, 12)])
            writer.work()
        return bool(coming)


def opened(root: Path, disk: Disk) -> ArchiveWriter:
    writer = ArchiveWriter(root, SECMASTER_CDC, ROTATION, disk)
    writer.recover()
    return writer


@pytest.fixture(autouse=True)
def small_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "FLUSH_BYTES", 200)


EXAMPLES = settings(max_examples=settings().max_examples // 2, deadline=None)
MEMORY = Path("/dev/shm")
"""Nothing of these disks is ever really on one."""


def directory_in_memory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)


def finish(root: Path, feed: Feed) -> archived.Archived:
    writer = opened(root, LazyDisk())
    while feed.feed(writer):
        pass
    writer.work()
    writer.seal()
    writer.close()
    return archived.read(root / SECMASTER_CDC.stream)


def expected(messages: list[Stored]) -> dict[tuple[int, int], bytes]:
    return {(1, message.sequence): message.payload for message in messages}


@EXAMPLES
@given(st.integers(), st.lists(st.integers(1, 80), max_size=4), st.booleans())
def test_a_power_loss_loses_and_doubles_nothing(seed: int, ends: list[int], kill: bool) -> None:
    chance = random.Random(seed)
    messages = made(chance, 60)
    feed = Feed(messages, chance)
    with directory_in_memory() as directory:
        root = Path(directory) / "0"
        root.mkdir()
        for number, ends_at in enumerate(ends, 1):
            disk = CrashingDisk(root, ends_at, chance)
            with contextlib.suppress(PowerLoss):
                writer = opened(root, disk)
                while feed.feed(writer):
                    pass
            disk.close_files()
            if not kill:
                # Of a process that is killed the file system loses nothing.
                root = Path(directory) / str(number)
                disk.lose_power(root)
        found = finish(root, feed)
    assert found.messages == expected(messages)
    last = messages[-1].sequence if messages else 0
    assert len(found.messages) + len(found.missing) == last


@EXAMPLES
@given(st.integers(), st.lists(st.integers(1, 80), max_size=4))
def test_what_the_stream_loses_meanwhile_is_a_hole_unless_files_have_it(
    seed: int, ends: list[int]
) -> None:
    chance = random.Random(seed)
    messages = made(chance, 60)
    feed = Feed(messages, chance)
    on_disk: set[int] = set()
    with directory_in_memory() as directory:
        root = Path(directory)
        for ends_at in ends:
            disk = CrashingDisk(root, ends_at, chance)
            with contextlib.suppress(PowerLoss):
                writer = opened(root, disk)
                while feed.feed(writer):
                    # What was flushed whole is in the files, whatever comes.
                    taken = {m.sequence for m in messages if m.sequence < writer.next_sequence}
                    on_disk |= {s for s in taken - waiting_in_memory(writer) if s >= feed.first}
            disk.close_files()
            feed.first = max(feed.first, chance.randrange(1, 62))
        found = finish(root, feed)
    kept = {key[1] for key in found.messages}
    assert found.messages == {key: p for key, p in expected(messages).items() if key[1] in kept}
    assert kept >= on_disk | {m.sequence for m in messages if m.sequence >= feed.first}
    for (_, sequence), why in found.missing.items():
        assert sequence < feed.first or why == writers.LOST


def waiting_in_memory(writer: ArchiveWriter) -> set[int]:
    segment = writer._segment
    files = segment.files.values() if segment else ()
    return {lines.decode(line[:-1]).sequence for file in files for line in file.buffer}


@EXAMPLES
@given(st.integers(), st.sampled_from([errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO]))
def test_a_full_disk_costs_nothing_but_time(seed: int, number: int) -> None:
    chance = random.Random(seed)
    messages = made(chance, 60)
    feed = Feed(messages, chance)
    with directory_in_memory() as directory:
        root = Path(directory)
        writer = opened(root, FullDisk(chance, number))
        coming = True
        while coming:
            with contextlib.suppress(OSError):
                coming = feed.feed(writer)
        while writer.next_sequence > writer.sealed_through + 1:
            with contextlib.suppress(OSError):
                writer.work()
                writer.seal()
        writer.close()
        found = archived.read(root / SECMASTER_CDC.stream)
    assert found.messages == expected(messages)


class LazyDisk(Disk):
    """Whether it is on the disk does not matter where nothing ends."""

    def sync(self, file: int) -> None:
        pass


class FullDisk(Disk):
    """Fails a third of what it is asked for, with a part of each write done."""

    def __init__(self, chance: random.Random, number: int) -> None:
        self._chance = chance
        self._number = number

    def _fail(self) -> None:
        if self._chance.random() < 0.3:
            raise OSError(self._number, "no")

    def make_directory(self, path: Path) -> None:
        self._fail()
        super().make_directory(path)

    def open(self, path: Path) -> int:
        self._fail()
        return super().open(path)

    def write(self, file: int, data: bytes, offset: int) -> None:
        try:
            self._fail()
        except OSError:
            super().write(file, data[: self._chance.randrange(len(data))], offset)
            raise
        super().write(file, data, offset)

    def sync(self, file: int) -> None:
        self._fail()

    def rename(self, old: Path, new: Path) -> None:
        self._fail()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._fail()
        super().remove(path)
