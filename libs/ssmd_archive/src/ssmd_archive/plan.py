"""A repair's plan: what a damaged archive's manifests will say; new files are made beside it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.disk import Disk
from ssmd_archive.hashing import hash_file
from ssmd_archive.layout import Window
from ssmd_archive.lines import nanoseconds
from ssmd_archive.manifest import (
    Chain,
    File,
    Line,
    Old,
    Removed,
    Segment,
    State,
    StateFile,
)
from ssmd_archive.mended import Mended
from ssmd_archive.rechain import rechained
from ssmd_archive.salvage import Piece, pieces
from ssmd_archive.stretch import Mender, Source, Stretch
from ssmd_archive.survey import Group, Survey

_LOST_CHAIN = "the line with which it began was damaged"


class Plan:
    """`manifests` are their new contents by day, None for a day that has none any more."""

    def __init__(self, archive: Archive, source: Source | None, disk: Disk, new: Path) -> None:
        self._archive = archive
        self._disk = disk
        self._new = new
        self._survey = Survey(archive)
        self.mended = Mended(files=[], states=[], manifests=[], strays=[])
        listed = _listed(self._survey.lines)
        # Of another name than what it holds a file says nothing of where it belongs.
        self._groups = [
            group
            for group in self._survey.groups(listed)
            if self._reached(group) >= group.name.sequence
        ]
        if source is not None and self._is_other(source):
            self.mended.is_other_stream = True
            source = None
        self._source = source
        self._mender = Mender(disk, new, archive.layout, archive.stream, source)
        self._restored: set[str] = set()
        self._lines: list[Listed] = []
        self.manifests: dict[str, bytes | None] = {}
        self.withdrawn: list[str] = []

    def make(self) -> None:
        """Make all of it.

        Raises:
            OSError: there is no room, or something cannot be read.
        """
        lines = self._survey.lines
        self._restore()
        self._begin()
        for number, (day, line) in enumerate(lines):
            self._take(day, line, _first_window(lines[number:]))
        self._end()
        self._write()
        self._forget_equal()

    def _forget_equal(self) -> None:
        """A segment that was made again may have files just as they are."""
        for path in [path for path in self._new.rglob("*") if path.is_file()]:
            name = path.relative_to(self._new).as_posix()
            if self._survey.hashes.get(name) == hash_file(path)[1]:
                self._disk.remove(path)

    def listed(self) -> set[str]:
        """The paths of all files that the new lines list."""
        return _listed(self._lines)

    @property
    def _last(self) -> Line | None:
        return self._lines[-1].line if self._lines else None

    def _is_other(self, source: Source) -> bool:
        """Whether it is another one than was archived last, or one that was restored."""
        lines, groups = self._survey.lines, self._groups
        newest = max(
            [line.chain for _, line in lines] + [group.name.chain for group in groups], default=0
        )
        of_newest = [line for _, line in lines if line.chain == newest]
        if of_newest and of_newest[-1].created != source.created:
            return True
        known: list[tuple[int, int]] = []
        for line in of_newest:
            if isinstance(line, Segment):
                last = max(line.files, key=lambda file: file.to_seq)
                known.append((last.to_seq, nanoseconds(last.last_time)))
        if not known:
            # No line tells: what files have does.
            known = [
                (piece.sequence, piece.stored_at_ns)
                for group in groups
                if group.name.chain == newest
                for piece in self._pieces(group)
            ]
        if not known:
            return not of_newest
        sequence, stored_at_ns = max(known)
        found = next(iter(source.read(sequence, sequence + 1)), None)
        if found is None:
            # Where no line says when the stream was created, nothing says that it is the same.
            return not of_newest
        return found.stored_at_ns != stored_at_ns

    def _restore(self) -> None:
        """Files that are whole under another name."""
        by_hash = {digest: path for path, digest in self._survey.hashes.items()}
        for day, line in self._survey.lines:
            for file in _files(line):
                path = f"{day}/{file.path}"
                if self._is_bad(day, file) and file.sha256 in by_hash:
                    target = self._new / path
                    self._disk.make_directory(target.parent)
                    shutil.copyfile(self._archive.stream / by_hash[file.sha256], target)
                    with target.open("rb") as copied:
                        self._disk.sync(copied.fileno())
                    self._restored.add(path)

    def _is_bad(self, day: str, file: File | StateFile) -> bool:
        path = f"{day}/{file.path}"
        return path not in self._restored and self._survey.hashes.get(path) != file.sha256

    def _begin(self) -> None:
        """What comes before the first line, unless it begins the stream or days were removed."""
        lines, source = self._survey.lines, self._source
        removed = [line.last_line for _, line in lines if isinstance(line, Removed)]
        if not lines:
            if self._groups:
                self._begin_chain(self._groups[0].day, self._groups[0].name.chain, None)
            return
        day, first = lines[0]
        if isinstance(first, Chain) or first.previous in removed[-1:]:
            return
        begins = [first.from_seq, *self._sequences(first.chain)]
        if source is not None and source.created == first.created and not removed:
            begins.append(source.first)
        if min(begins) < first.from_seq:
            window = _first_window(lines)
            self._fill(first.chain, first.created, min(begins), first.from_seq, day, window)

    def _take(self, day: str, line: Line, ceiling: Window | None) -> None:
        if self._last is not None and line.chain > self._last.chain:
            old = line.old if isinstance(line, Chain) else None
            self._end_chain(day, old.to_seq + 1 if old and old.chain == self._last.chain else None)
            for chain in range(self._last.chain + 1, line.chain + 1):
                if chain < line.chain or not isinstance(line, Chain):
                    self._begin_chain(day, chain, line if chain == line.chain else None)
                if chain < line.chain:
                    self._end_chain(day, None)
        before = self._last
        if isinstance(line, Chain):
            told = _old(before)
            if line.old != told and before is not None:
                line = msgspec.structs.replace(line, old=told)
            self._lines.append(Listed(day, line))
            return
        if before is not None and line.from_seq > before.next_sequence:
            self._fill(line.chain, line.created, before.next_sequence, line.from_seq, day, ceiling)
        elif before is not None and line.from_seq < before.next_sequence:
            # The same sequences again: what came first counts.
            return
        bad = [file for file in _files(line) if self._is_bad(day, file)]
        if bad and isinstance(line, Segment):
            self._segment(day, line)
        elif bad and isinstance(line, State):
            self.mended.states.append(f"{day} after sequence {line.after_seq}")
            self.withdrawn += [
                f"{day}/{file.path}"
                for file in line.files
                if f"{day}/{file.path}" in self._survey.hashes
            ]
        else:
            self._lines.append(Listed(day, line))

    def _segment(self, day: str, line: Segment) -> None:
        bad = [file for file in line.files if self._is_bad(day, file)]
        # What was found under another name is read where it is.
        bad += [file for file in line.files if f"{day}/{file.path}" in self._restored]
        stretch = Stretch(
            line.chain,
            line.created,
            line.from_seq,
            line.to_seq + 1,
            _window(line.window),
            [file for file in line.files if file not in bad],
            line.counts,
            [
                (file.table, root / day / file.path)
                for file in bad
                for root in (self._archive.stream, self._new)
            ],
            line.holes,
        )
        self._make(stretch, None, day)

    def _fill(
        self, chain: int, created: str, start: int, stop: int, day: str, ceiling: Window | None
    ) -> None:
        """What no line accounts for: files of it may be there."""
        here = [
            group
            for group in self._groups
            if group.name.chain == chain and start <= group.name.sequence < stop
        ]
        begins = sorted({group.name.sequence for group in here})
        if not begins or begins[0] > start:
            before = max(here[0].name.window, self._floor) if here else ceiling
            leading_day = before.day if here and before else day
            following = begins[0] if begins else stop
            self._make(Stretch(chain, created, start, following, None), before, leading_day)
        for begin, end in zip(begins, [*begins[1:], stop], strict=True):
            same = [group for group in here if group.name.sequence == begin]
            bad = [
                (folder, self._archive.stream / group.day / path)
                for group in same
                for folder, path in group.folders.items()
            ]
            window = max(same[0].name.window, self._floor)
            window = min(window, ceiling) if ceiling else window
            stretch = Stretch(chain, created, begin, end, window, bad=bad)
            self._make(stretch, None, window.day)

    def _make(self, stretch: Stretch, ceiling: Window | None, day: str) -> None:
        made = self._mender.make(stretch, self._floor, ceiling, day)
        self._lines += [Listed(*found) for found in made.lines]
        self.mended.fetched += made.fetched
        self.mended.salvaged += made.salvaged
        self.mended.lost += made.lost

    @property
    def _floor(self) -> Window:
        """The latest window that was reached; a state's is that in which it began."""
        reached = Window(0)
        for _, line in reversed(self._lines):
            if isinstance(line, Segment | State):
                reached = max(reached, _window(line.window))
            if isinstance(line, Segment):
                break
        return reached

    def _begin_chain(self, day: str, chain: int, following: Line | None) -> None:
        """A line that begins an incarnation of which it is gone."""
        before = self._last
        created = following.created if following else ""
        newest = max((group.name.chain for group in self._groups), default=chain)
        if following is None and self._source is not None and chain == newest:
            created = self._source.created
        begins = self._sequences(chain) + ([following.from_seq] if following else [])
        start = min(begins, default=1)
        line = Chain(
            stream=self._archive.layout.stream,
            created=created,
            chain=chain,
            from_seq=start,
            to_seq=start - 1,
            previous=None,
            why=_LOST_CHAIN,
            old=_old(before),
        )
        self._lines.append(Listed(day, line))

    def _end_chain(self, day: str, stop: int | None) -> None:
        """What is left of an incarnation that another one follows."""
        last = self._last
        assert last is not None
        if stop is None:
            left = [
                group
                for group in self._groups
                if (group.name.chain, group.name.sequence) >= (last.chain, last.next_sequence)
                and group.name.chain == last.chain
            ]
            stop = max((self._reached(group) + 1 for group in left), default=0)
        if stop > last.next_sequence:
            self._fill(last.chain, last.created, last.next_sequence, stop, day, None)

    def _end(self) -> None:
        """What comes after the last line; a segment that was being written is the archiver's."""
        if self._last is None:
            return
        for chain in sorted({group.name.chain for group in self._groups}):
            if chain > self._last.chain:
                self._end_chain(self._lines[-1].day, None)
                for number in range(self._last.chain + 1, chain + 1):
                    self._begin_chain(self._lines[-1].day, number, None)
        last = self._last
        open_at = max(self._sequences(last.chain), default=0)
        if open_at > last.next_sequence:
            self._fill(
                last.chain, last.created, last.next_sequence, open_at, self._lines[-1].day, None
            )

    def _sequences(self, chain: int) -> list[int]:
        return [group.name.sequence for group in self._groups if group.name.chain == chain]

    def _reached(self, group: Group) -> int:
        """The last sequence that its files have."""
        return max((piece.sequence for piece in self._pieces(group)), default=0)

    def _pieces(self, group: Group) -> Iterator[Piece]:
        for folder, path in group.folders.items():
            yield from pieces(self._archive.stream / group.day / path, folder)

    def _write(self) -> None:
        if self._lines:
            self.manifests = rechained(self._survey, self._lines, self.mended.lost)
            self.mended.manifests = sorted(self.manifests)


def _old(line: Line | None) -> Old | None:
    return Old(created=line.created, chain=line.chain, to_seq=line.to_seq) if line else None


def _files(line: Line) -> list[File] | list[StateFile]:
    return line.files if isinstance(line, Segment | State) else []


def _listed(lines: list[Listed]) -> set[str]:
    return {f"{day}/{file.path}" for day, line in lines for file in _files(line)}


def _window(text: str) -> Window:
    return Window(nanoseconds(text) // 1_000_000_000)


def _first_window(lines: list[Listed]) -> Window | None:
    for _, line in lines:
        if isinstance(line, Segment):
            return _window(line.window)
    return None
