"""The manifests of a stream from the writer's end: where the chain of lines ends, and appending."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog

from ssmd_archive import manifest
from ssmd_archive.disk import Disk
from ssmd_archive.errors import ArchiveDamaged, UnreadableLine
from ssmd_archive.layout import MANIFEST, Window, is_day, repair_of
from ssmd_archive.lines import nanoseconds
from ssmd_archive.manifest import Chain, Expired, HoleLine, Line, Segment, State

log = structlog.get_logger(__name__)

L = TypeVar("L", Segment, HoleLine, Expired, Chain, State, manifest.Removed)


class Seen(NamedTuple):
    """The last message of the current incarnation that is archived: who finds another one in its
    place has another stream.
    """

    sequence: int
    stored_at_ns: int


class Tail(NamedTuple):
    """Where the chain of lines ends."""

    day: str
    created: str
    chain: int
    next_sequence: int
    digest: str
    window: Window
    """The latest that was reached: later messages are in no earlier one."""
    seen: Seen | None
    state_after: int | None
    """The sequence after which the day's last state is completed by messages; None where there is
    no state, or something was lost since.
    """


class Journal:
    """Appends lines. `tail` is None until there is one."""

    def __init__(
        self, disk: Disk, stream: Path, told: Callable[[Line], None] = lambda _: None
    ) -> None:
        """`told` is called with each line that was written."""
        self._disk = disk
        self._told = told
        self._stream = stream
        self.tail: Tail | None = None

    def days(self) -> list[str]:
        """Days that have a manifest, the oldest first."""
        if not self._stream.is_dir():
            return []
        return sorted(
            entry.name
            for entry in self._stream.iterdir()
            if is_day(entry.name) and (entry / MANIFEST).is_file()
        )

    def lines(self, day: str) -> list[Line]:
        """The lines of a day.

        Raises:
            ArchiveDamaged: one cannot be read.
        """
        found = []
        path = self._stream / day / MANIFEST
        for number, text in enumerate(path.read_bytes().splitlines(), 1):
            try:
                found.append(manifest.decode(text))
            except UnreadableLine as error:
                raise ArchiveDamaged(
                    f"line {number} of {path} cannot be read ({error}): `ssmd archive verify` says "
                    f"what else is wrong, {repair_of(self._stream)} mends it"
                ) from error
        return found

    def recover(self) -> None:
        """Cut a torn line, and find the chain's end.

        Raises:
            ArchiveDamaged: a line before the last cannot be read.
        """
        days = self.days()
        for day in reversed(days):
            self._cut(day)
            if found := self.lines(day):
                self.tail = self._tail(day, found, days)
                return

    def last_digest(self, day: str) -> str | None:
        """The SHA-256 of a day's last line; None where it has none."""
        content = (self._stream / day / MANIFEST).read_bytes()
        return manifest.digest(content.splitlines()[-1]) if content else None

    def append(self, day: str, kind: type[L], **fields: Any) -> L:
        """Write a line of a day, to the disk; what is not given follows from the line before.

        After an error nothing of it is there, or it is torn.
        """
        tail = self.tail
        given: dict[str, Any] = {
            "stream": self._stream.name,
            "created": tail.created if tail else "",
            "chain": tail.chain if tail else 1,
            "from_seq": tail.next_sequence if tail else 1,
            "to_seq": tail.next_sequence - 1 if tail else 0,
            "previous": tail.digest if tail else None,
        }
        line = kind(**given | fields)
        self._write(day, manifest.encode(line))
        self._follow(day, line)
        self._told(line)
        return line

    def _write(self, day: str, text: bytes) -> None:
        path = self._stream / day / MANIFEST
        self._disk.make_directory(path.parent)
        file = self._disk.open(path)
        try:
            size = os.fstat(file).st_size
            if not size:
                # Before the line, after which nothing may fail.
                for directory in (path.parent, self._stream, self._stream.parent):
                    self._disk.sync_directory(directory)
            try:
                self._disk.write(file, text, size)
                self._disk.sync(file)
            except OSError:
                self._disk.truncate(file, size)
                raise
        finally:
            os.close(file)

    def _cut(self, day: str) -> None:
        path = self._stream / day / MANIFEST
        content = path.read_bytes()
        whole = manifest.whole_lines(content)
        if whole == len(content):
            return
        log.warning("a manifest's last line is torn, cutting it", path=str(path), bytes=whole)
        file = self._disk.open(path)
        try:
            self._disk.truncate(file, whole)
            self._disk.sync(file)
        finally:
            os.close(file)

    def _follow(self, day: str, line: Line) -> None:
        before = self.tail
        window = before.window if before else Window(0)
        seen = before.seen if before else None
        state_after = before.state_after if before and before.day == day else None
        lost = 0
        match line:
            case Segment():
                window = max(window, _window(line.window))
                seen = _seen(line)
                lost = line.holes[-1].to_seq if line.holes else 0
            case State():
                window, state_after = max(window, _window(line.window)), line.after_seq
            case Chain():
                seen = state_after = None
            case HoleLine() | Expired():
                lost = line.to_seq
            case manifest.Removed() | manifest.Repaired():
                pass
        if state_after is not None and lost > state_after:
            state_after = None
        self.tail = Tail(
            day,
            line.created,
            line.chain,
            line.next_sequence,
            manifest.digest(manifest.encode(line)),
            window,
            seen,
            state_after,
        )

    def _tail(self, day: str, found: list[Line], days: list[str]) -> Tail:
        """What following all lines from the chain's beginning would say, from as few as needed."""
        for line in found:
            self._follow(day, line)
        tail = self.tail
        assert tail is not None
        earlier = self._backwards(days[: days.index(day)])
        chain_begins = any(isinstance(line, Chain) for line in found)
        while (tail.seen is None and not chain_begins) or tail.window == Window(0):
            before = next(earlier, None)
            if before is None:
                break
            chain_begins = chain_begins or isinstance(before, Chain)
            if isinstance(before, Segment):
                tail = tail._replace(window=max(tail.window, _window(before.window)))
                if tail.seen is None and before.chain == tail.chain:
                    tail = tail._replace(seen=_seen(before))
        # The digest is of the bytes that are there: another version may encode otherwise.
        return tail._replace(digest=self.last_digest(day) or tail.digest)

    def _backwards(self, days: list[str]) -> Iterator[Line]:
        for day in reversed(days):
            yield from reversed(self.lines(day))


def _seen(line: Segment) -> Seen:
    last = max(line.files, key=lambda file: file.to_seq)
    return Seen(last.to_seq, nanoseconds(last.last_time))


def _window(text: str) -> Window:
    return Window(nanoseconds(text) // 1_000_000_000)
