"""What is in sealed files, beside what the manifest says of it."""

import heapq
import os
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from ssmd_archive import lines
from ssmd_archive.away import here
from ssmd_archive.errors import ArchiveDamaged, UnreadableLine
from ssmd_archive.layout import OTHER
from ssmd_archive.manifest import File, Segment, State
from ssmd_archive.members import members
from ssmd_archive.replay import key_of
from ssmd_common.tables import PRIMARY_KEY

_row: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Contents:
    """A file's messages as they are: `wrong` says where it is not one of the archive."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.sequences = array("Q")
        self.counts: Counter[str] = Counter()
        self.raw_bytes = 0
        self.first_ns = self.last_ns = 0
        self.wrong: str | None = None

    def read(self, path: Path) -> None:
        """Up to the first thing that is wrong."""
        number = 0
        for raw in whole_members(path, self):
            if not raw.endswith(b"\n"):
                ends = raw.count(b"\n")
                self.wrong = f"line {number + ends + 1} has no end"
                return
            self.raw_bytes += len(raw)
            for text in raw[:-1].split(b"\n"):
                number += 1
                if (wrong := self._take(text)) is not None:
                    self.wrong = f"line {number} {wrong}"
                    return

    def _take(self, text: bytes) -> str | None:
        try:
            line = lines.decode(text)
        except UnreadableLine as error:
            return f"cannot be read: {error}"
        if self.sequences and line.sequence <= self.sequences[-1]:
            return f"has sequence {line.sequence}, after {self.sequences[-1]}"
        kind = lines.UNTYPED
        if self.folder != OTHER:
            if line.subject is not None or not lines.can_be_carried(line.payload):
                return f"(sequence {line.sequence}) is no message as published"
            kind = lines.kind_of(self.folder, line.payload)
        elif line.subject is None:
            return f"(sequence {line.sequence}) does not say its subject"
        if not self.sequences:
            self.first_ns = line.stored_at_ns
        self.last_ns = line.stored_at_ns
        self.sequences.append(line.sequence)
        lines.count_type(self.counts, kind)
        return None


def whole_members(path: Path, contents: Contents) -> Iterator[bytes]:
    """The lines of each member; what ends them before the file does is said."""
    with here(path).open("rb") as file:
        size, end = os.fstat(file.fileno()).st_size, 0
        for member in members(file):
            end = member.end
            yield member.raw
    if end != size:
        contents.wrong = f"it cannot be read from byte {end} of {size} on"


def segment_contents(day: Path, line: Segment) -> Iterator[tuple[str | None, str]]:
    """What is wrong with a segment's messages: each the path of a file, or None, and words."""
    found: list[Contents] = []
    for file in line.files:
        contents = Contents(file.table)
        try:
            contents.read(day / file.path)
        except OSError as error:
            contents.wrong = f"it cannot be read: {error.strerror}"
        except ArchiveDamaged as error:
            contents.wrong = str(error)
        for wrong in _differences(line, file, contents):
            yield file.path, wrong
        found.append(contents)
    if not any(contents.wrong for contents in found):
        for wrong in _sequences(line, [contents.sequences for contents in found]):
            yield None, wrong


def _differences(line: Segment, file: File, contents: Contents) -> Iterator[str]:
    if contents.wrong is not None:
        yield contents.wrong
        return
    if not contents.sequences:
        yield "it has no message"
        return
    pairs = {
        "messages": (len(contents.sequences), file.messages),
        "raw_bytes": (contents.raw_bytes, file.raw_bytes),
        "from_seq": (contents.sequences[0], file.from_seq),
        "to_seq": (contents.sequences[-1], file.to_seq),
        "first_time": (lines.timestamp(contents.first_ns), file.first_time),
        "last_time": (lines.timestamp(contents.last_ns), file.last_time),
        "counts": (dict(contents.counts), line.counts.get(file.table)),
    }
    for name, (there, said) in pairs.items():
        if there != said:
            yield f"its {name} is {there}, the manifest says {said}"


def _sequences(line: Segment, found: list["array[int]"]) -> Iterator[str]:
    """Messages and holes are the range, each sequence once."""
    holes = (range(hole.from_seq, hole.to_seq + 1) for hole in line.holes)
    ranges = heapq.merge(
        *(((sequence, sequence + 1) for sequence in file) for file in found),
        ((hole.start, hole.stop) for hole in holes),
    )
    place = line.from_seq
    for start, stop in ranges:
        if start != place:
            what = "is there twice, or lost and there" if start < place else "is in no file"
            yield f"sequence {min(start, place)} {what}"
            return
        place = stop
    if place != line.to_seq + 1:
        yield f"sequence {place} is in no file"


def state_contents(day: Path, line: State) -> Iterator[tuple[str, str]]:
    """What is wrong with a state's rows: each the path of a file, and words."""
    for file in line.files:
        contents = Contents(file.table)
        rows = 0
        try:
            for raw in whole_members(day / file.path, contents):
                contents.raw_bytes += len(raw)
                for row in raw.removesuffix(b"\n").split(b"\n") if raw else ():
                    rows += 1
                    if file.table in PRIMARY_KEY:
                        key_of(file.table, row)
                    _row.decode(row)
        except OSError as error:
            contents.wrong = f"it cannot be read: {error.strerror}"
        except (ArchiveDamaged, msgspec.MsgspecError, UnicodeDecodeError) as error:
            contents.wrong = f"line {rows}: {error}"
        if contents.wrong is not None:
            yield file.path, contents.wrong
        elif (rows, contents.raw_bytes) != (file.rows, file.raw_bytes):
            there = f"{rows} rows in {contents.raw_bytes} bytes"
            said = f"{file.rows} in {file.raw_bytes}"
            yield file.path, f"it has {there}, the manifest says {said}"
