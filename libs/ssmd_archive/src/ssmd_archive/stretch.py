"""A stretch of the stream archived anew, from whatever holds its messages."""

import heapq
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from ssmd_archive import lines
from ssmd_archive.contents import Contents
from ssmd_archive.disk import Disk
from ssmd_archive.layout import Layout, Window, window_of
from ssmd_archive.manifest import File, Hole, HoleLine, Line, Segment
from ssmd_archive.present import Present
from ssmd_archive.salvage import Piece, pieces
from ssmd_archive.segment import OpenSegment
from ssmd_archive.writer import FLUSH_BYTES, Message, encode

DAMAGED: Final = "its file or line was damaged, and the stream held it no more when it was repaired"
_SECONDS: Final = 900
"""Of a window, where no line and no file's name says which it was."""


class Source(Protocol):
    """The stream as it is now: `created` tells it from another of its name."""

    created: str
    first: int

    def read(self, start: int, stop: int) -> Iterator[Message]:
        """What it holds of these sequences, ascending, from `start` up to, without, `stop`."""
        ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sequences from `start` up to, without, `stop`. `good` files stay, and have some of them;
    `bad` ones (folder, path) may still have others. In the `window` that is known, else by time.
    """

    chain: int
    created: str
    start: int
    stop: int
    window: Window | None
    good: list[File] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    bad: list[tuple[str, Path]] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)


class Made:
    """What came of it: lines with the days that they belong to, and of how many messages."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Line]] = []
        self.fetched = self.salvaged = self.lost = 0


class Mender:
    """Makes files in a scratch directory, for a stream's directory."""

    def __init__(
        self, disk: Disk, scratch: Path, layout: Layout, stream: Path, source: Source | None
    ) -> None:
        self._disk = disk
        self._scratch = scratch
        self._layout = layout
        self._stream = stream
        self._source = source

    def make(self, stretch: Stretch, floor: Window, ceiling: Window | None, day: str) -> Made:
        """Archive it anew. Windows that are not known lie between those around it; a line that has
        none is of the day.
        """
        made = Made()
        there = [self._sequences(stretch, file) for file in stretch.good]
        wanted = _Wanted(Present(there).missing(stretch.start, stretch.stop), stretch.holes)
        segment: OpenSegment | None = None
        written = array("Q")
        begin = stretch.start
        for piece in self._pieces(stretch, wanted, made):
            window = stretch.window
            if window is None:
                window = max(floor, window_of(piece.stored_at_ns, _SECONDS))
                window = min(window, ceiling) if ceiling else window
            if segment is not None and segment.window != window:
                self._end(stretch, segment, begin, piece.sequence, [], written, made)
                begin, written, segment = piece.sequence, array("Q"), None
            if segment is None:
                if stretch.window is None and piece.sequence > begin:
                    self._hole(stretch, window.day, begin, piece.sequence, made)
                    begin = piece.sequence
                floor = window
                segment = OpenSegment(self._disk, self._scratch, window, begin, stretch.chain)
            _, folder, stored_at_ns, kind, line = piece
            file = segment.add(folder, piece.sequence, stored_at_ns, line, kind)
            if file.buffered_bytes >= FLUSH_BYTES:
                segment.size += file.flush()
            written.append(piece.sequence)
        if segment is None and there and stretch.window is not None:
            segment = OpenSegment(self._disk, self._scratch, stretch.window, begin, stretch.chain)
        if segment is not None:
            self._end(stretch, segment, begin, stretch.stop, there, written, made)
        else:
            self._hole(stretch, day, begin, stretch.stop, made)
        return made

    def _sequences(self, stretch: Stretch, file: File) -> "array[int]":
        assert stretch.window is not None
        contents = Contents(file.table)
        contents.read(self._stream / stretch.window.day / file.path)
        return contents.sequences

    def _pieces(self, stretch: Stretch, wanted: "_Wanted", made: Made) -> Iterator[Piece]:
        """The stream's word first: a damaged file is asked only for what that does not hold."""
        fetched = self._fetched(stretch, wanted)
        salvaged = heapq.merge(*(pieces(path, folder) for folder, path in stretch.bad))
        reached = 0
        marked = heapq.merge(((p, True) for p in fetched), ((p, False) for p in salvaged),
                             key=lambda found: (found[0].sequence, not found[1]))  # fmt: skip
        for piece, is_fetched in marked:
            if piece.sequence <= reached or not wanted.has(piece.sequence):
                continue
            reached = piece.sequence
            if is_fetched:
                made.fetched += 1
            else:
                made.salvaged += 1
            yield piece

    def _fetched(self, stretch: Stretch, wanted: "_Wanted") -> Iterator[Piece]:
        source = self._source
        if source is None or source.created != stretch.created or not wanted.ranges:
            return
        start, stop = max(wanted.ranges[0].start, source.first), wanted.ranges[-1].stop
        if start >= stop:
            return
        for message in source.read(start, stop):
            folder, kind, line = encode(self._layout, message)
            yield Piece(message.sequence, folder, message.stored_at_ns, kind, line)

    def _end(
        self,
        stretch: Stretch,
        segment: OpenSegment,
        start: int,
        stop: int,
        there: "list[array[int]]",
        written: "array[int]",
        made: Made,
    ) -> None:
        new = segment.seal() if segment.files else []
        segment.close()
        files = sorted([*(stretch.good if there else []), *new], key=lambda file: file.path)
        counts = {file.table: dict(stretch.counts[file.table]) for file in stretch.good if there}
        counts |= {name: dict(sorted(file.counts.items())) for name, file in segment.files.items()}
        first = min(files, key=lambda file: file.from_seq)
        last = max(files, key=lambda file: file.to_seq)
        holes = _holes(Present([*there, written]).missing(start, stop), stretch.holes)
        made.lost += sum(hole.size for hole in holes if hole.why == DAMAGED)
        line = Segment(
            stream=self._layout.stream,
            created=stretch.created,
            chain=stretch.chain,
            from_seq=start,
            to_seq=stop - 1,
            previous=None,
            window=lines.timestamp(segment.window.start * 1_000_000_000),
            messages=sum(file.messages for file in files),
            first_time=first.first_time,
            last_time=last.last_time,
            counts={file.table: counts[file.table] for file in files},
            files=files,
            holes=holes,
        )
        made.lines.append((segment.window.day, line))

    def _hole(self, stretch: Stretch, day: str, start: int, stop: int, made: Made) -> None:
        for hole in _holes([range(start, stop)], stretch.holes):
            if hole.why == DAMAGED:
                made.lost += hole.size
            line = HoleLine(
                stream=self._layout.stream,
                created=stretch.created,
                chain=stretch.chain,
                from_seq=hole.from_seq,
                to_seq=hole.to_seq,
                previous=None,
                why=hole.why,
            )
            made.lines.append((day, line))


class _Wanted:
    """Sequences that no good file has, and that are not known to be lost; asked ascending."""

    def __init__(self, missing: list[range], holes: Iterable[Hole]) -> None:
        self.ranges = [lost for lost, hole in _told_apart(missing, list(holes)) if hole is None]
        self._at = 0

    def has(self, sequence: int) -> bool:
        while self._at < len(self.ranges) and self.ranges[self._at].stop <= sequence:
            self._at += 1
        return self._at < len(self.ranges) and sequence in self.ranges[self._at]


def _holes(missing: list[range], known: list[Hole]) -> list[Hole]:
    """Holes for what is missing: what is known of them stays."""
    return [
        Hole(from_seq=lost.start, to_seq=lost.stop - 1, why=hole.why if hole else DAMAGED)
        for lost, hole in _told_apart(missing, known)
    ]


def _told_apart(missing: list[range], known: list[Hole]) -> Iterator[tuple[range, Hole | None]]:
    """What is missing in pieces, each with the hole that it is known to be in, or None."""
    for lost in missing:
        start = lost.start
        for hole in known:
            if hole.to_seq < start or hole.from_seq >= lost.stop:
                continue
            if hole.from_seq > start:
                yield range(start, hole.from_seq), None
            stop = min(hole.to_seq + 1, lost.stop)
            yield range(max(start, hole.from_seq), stop), hole
            start = stop
        if start < lost.stop:
            yield range(start, lost.stop), None
