"""The segment that is being written: a file for each folder that has messages, and the holes."""

import hashlib
import os
from array import array
from collections import Counter
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Final

from ssmd_archive import lines
from ssmd_archive.disk import Disk
from ssmd_archive.errors import UnreadableLine
from ssmd_archive.layout import OTHER, PART, Window, file_path
from ssmd_archive.manifest import File, Hole
from ssmd_archive.members import compress, members
from ssmd_archive.present import Present

MOST_HOLES: Final = 10_000
"""Ranges in one line of a manifest: a segment with more is sealed."""


class SegmentFile:
    """One `.part`. Lines wait in memory until `flush`, which writes them as one gzip member.

    Its lines are the beginning of what the segment has for its folder, whatever ends the process.
    """

    def __init__(self, disk: Disk, day: Path, path: str, before: int) -> None:
        self._disk = disk
        self._target = day / path
        self._part = day / (path + PART)
        self.path = path
        self.folder = path.partition("/")[0]
        self.counts: Counter[str] = Counter()
        self.messages = self.size = self.raw_bytes = self.first_sequence = 0
        self.last_sequence = before
        self.first_ns = self.last_ns = 0
        self.buffer: list[bytes] = []
        self.buffered_bytes = 0
        self._hash = hashlib.sha256()
        self._file: int | None = None
        self._sealed = False

    def add(self, sequence: int, stored_at_ns: int, line: bytes, kind: str) -> None:
        if not self.messages:
            self.first_sequence, self.first_ns = sequence, stored_at_ns
        self.messages += 1
        self.last_sequence, self.last_ns = sequence, stored_at_ns
        self.raw_bytes += len(line)
        lines.count_type(self.counts, kind)
        self.buffer.append(line)
        self.buffered_bytes += len(line)

    def read_back(self) -> "array[int]":
        """Take over what an earlier process left, and cut what is not whole; the sequences of it.

        Raises:
            OSError: it cannot be read or cut.
        """
        if not self._part.exists():
            # It was sealed, and the manifest does not say so.
            self._disk.rename(self._target, self._part)
        file = self._opened()
        sequences = array("Q")
        with FileIO(os.dup(file)) as raw, BufferedReader(raw) as reader:
            for member in members(reader):
                if not self._take(member.raw, sequences):
                    break
                self.size = member.end
        self._disk.truncate(file, self.size)
        with FileIO(os.dup(file)) as raw:
            raw.seek(0)
            left = self.size
            while left and (chunk := raw.read(min(left, 1 << 18))):
                self._hash.update(chunk)
                left -= len(chunk)
        return sequences

    def _take(self, member: bytes, sequences: "array[int]") -> bool:
        """Whether a member's lines follow what is there: one that was not ours is cut."""
        if not member.endswith(b"\n"):
            return False
        found: list[lines.Line] = []
        last = self.last_sequence
        try:
            for line in member[:-1].split(b"\n"):
                found.append(lines.decode(line))
                if found[-1].sequence <= last:
                    return False
                last = found[-1].sequence
        except UnreadableLine:
            return False
        for message in found:
            kind = (
                lines.UNTYPED
                if self.folder == OTHER
                else lines.kind_of(self.folder, message.payload)
            )
            self.add(message.sequence, message.stored_at_ns, b"", kind)
            sequences.append(message.sequence)
        self.raw_bytes += len(member)
        self.buffer.clear()
        return True

    def flush(self) -> int:
        """Write what waits; how many bytes that were. After an error all of it waits still."""
        if not self.buffer:
            return 0
        data = compress(b"".join(self.buffer))
        self._disk.write(self._opened(), data, self.size)
        self._hash.update(data)
        self.size += len(data)
        self.buffer.clear()
        self.buffered_bytes = 0
        return len(data)

    def seal(self) -> None:
        """Put it on the disk, under its own name. Flushed before; may be repeated."""
        if self._sealed:
            return
        file = self._opened()
        # An error may have left more than what was written.
        self._disk.truncate(file, self.size)
        self._disk.sync(file)
        self._disk.rename(self._part, self._target)
        self._sealed = True
        self.close()

    def discard(self) -> None:
        """There is nothing in it."""
        self.close()
        self._disk.remove(self._part)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def entry(self) -> File:
        """What the manifest says of it."""
        return File(
            path=self.path,
            table=self.folder,
            messages=self.messages,
            bytes=self.size,
            raw_bytes=self.raw_bytes,
            sha256=self._hash.hexdigest(),
            from_seq=self.first_sequence,
            to_seq=self.last_sequence,
            first_time=lines.timestamp(self.first_ns),
            last_time=lines.timestamp(self.last_ns),
        )

    def _opened(self) -> int:
        if self._file is None:
            self._disk.make_directory(self._part.parent)
            self._file = self._disk.open(self._part)
        return self._file


class OpenSegment:
    """Messages from `from_seq` on. All before `next_sequence` are in its files, or are holes.

    One that an earlier process began is read from the stream again: what its files hold already is
    passed over.
    """

    def __init__(self, disk: Disk, stream: Path, window: Window, from_seq: int, chain: int) -> None:
        self._disk = disk
        self.day = stream / window.day
        self.window = window
        self.chain = chain
        self.from_seq = self.next_sequence = from_seq
        self.files: dict[str, SegmentFile] = {}
        self.holes: list[Hole] = []
        self.size = 0
        self.is_sealing = False
        """Files may have their names already: nothing is added any more."""
        self._present: Present | None = None

    def read_back(self, folders: list[str]) -> None:
        """Take over these files."""
        found = [self._file(folder).read_back() for folder in folders]
        self._present = Present(found)
        self.size = sum(file.size for file in self.files.values())

    @property
    def last_present(self) -> int:
        """The last sequence that its files held from the beginning; 0 where they were empty."""
        return self._present.last if self._present else 0

    @property
    def is_replayed(self) -> bool:
        """Whether all that its files held has come again, so that it may be sealed."""
        return self.next_sequence > self.last_present

    @property
    def last(self) -> tuple[int, int] | None:
        """Sequence and time of the last message in it."""
        ends = [(file.last_sequence, file.last_ns) for file in self.files.values() if file.messages]
        return max(ends, default=None)

    def add(
        self, folder: str, sequence: int, stored_at_ns: int, line: bytes, kind: str
    ) -> SegmentFile:
        """The next message; all before it must be accounted for."""
        file = self.files.get(folder) or self._file(folder)
        if sequence > file.last_sequence:
            file.add(sequence, stored_at_ns, line, kind)
        self.next_sequence = sequence + 1
        return file

    def account(self, stop: int, why: str) -> None:
        """No message comes any more before `stop`: what the files do not hold of it is a hole."""
        start = self.next_sequence
        missing = self._present.missing(start, stop) if self._present else [range(start, stop)]
        for lost in missing:
            if not lost:
                continue
            last = self.holes[-1] if self.holes else None
            if last is not None and last.to_seq + 1 == lost.start and last.why == why:
                self.holes[-1] = Hole(from_seq=last.from_seq, to_seq=lost.stop - 1, why=why)
            else:
                self.holes.append(Hole(from_seq=lost.start, to_seq=lost.stop - 1, why=why))
        self.next_sequence = max(start, stop)

    def flush(self, least_bytes: int = 0) -> None:
        """Write what waits in files where at least so much does."""
        for file in self.files.values():
            if file.buffered_bytes >= least_bytes:
                self.size += file.flush()

    def seal(self) -> list[File]:
        """Put all of it on the disk; what the manifest says of its files. May be repeated."""
        self.is_sealing = True
        self.flush()
        for file in self.files.values():
            if file.messages:
                file.seal()
            else:
                file.discard()
        files = [self.files[folder] for folder in sorted(self.files)]
        for file in files:
            if file.messages:
                self._disk.sync_directory(self.day / file.folder)
        # The names of the folders, of the day and of the stream may be new.
        for directory in (self.day, self.day.parent, self.day.parent.parent):
            self._disk.sync_directory(directory)
        return [file.entry() for file in files if file.messages]

    def close(self) -> None:
        for file in self.files.values():
            file.close()

    def _file(self, folder: str) -> SegmentFile:
        path = file_path(folder, self.window, self.from_seq, self.chain)
        file = SegmentFile(self._disk, self.day, path, self.from_seq - 1)
        self.files[folder] = file
        return file
