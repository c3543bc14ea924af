"""What a manifest's line must say, by itself and after the line before (docs/archive.md). Pure."""

from collections.abc import Iterator

from ssmd_archive import manifest
from ssmd_archive.layout import Window, parse_path, state_folder
from ssmd_archive.lines import nanoseconds
from ssmd_archive.manifest import (
    Chain,
    Expired,
    File,
    HoleLine,
    Line,
    Removed,
    Repaired,
    Segment,
    State,
)
from ssmd_stream.change import parse_lsn
from ssmd_stream.visibility import Snapshot


def contradictions(day: str, line: Line, before: Line | None) -> Iterator[str]:
    """What is wrong with a line, in words; `before` is None where the line before is not known."""
    if before is not None:
        yield from _after(line, before)
    try:
        match line:
            case Segment():
                yield from _segment(day, line)
            case HoleLine() | Expired():
                if line.to_seq < line.from_seq:
                    yield "it is of no sequence"
            case Chain() | Removed() | Repaired():
                yield from _accounts_for_none(line)
            case State():
                yield from _state(day, line)
    except ValueError as error:
        yield str(error)


def _after(line: Line, before: Line) -> Iterator[str]:
    if line.stream != before.stream:
        yield f"it is of the stream {line.stream}, the line before of {before.stream}"
    if isinstance(line, Chain):
        if line.chain != before.chain + 1:
            yield f"it begins chain {line.chain} after chain {before.chain}"
        old = line.old
        if old is None or (old.created, old.chain, old.to_seq) != (
            before.created,
            before.chain,
            before.to_seq,
        ):
            yield "what it says of the chain before is not what the line before says"
        return
    if (line.chain, line.created) != (before.chain, before.created):
        yield "it is of another chain than the line before"
    elif line.from_seq != before.next_sequence:
        yield f"it begins at {line.from_seq}, where {before.next_sequence} comes next"
    # A state's window is that in which it began: segments may have been sealed since.
    if (
        isinstance(line, Segment)
        and isinstance(before, Segment | State)
        and line.window < before.window
    ):
        yield f"its window {line.window} is before that of the line before, {before.window}"


def _accounts_for_none(line: Line) -> Iterator[str]:
    if line.to_seq != line.from_seq - 1:
        yield f"it accounts for {line.from_seq} to {line.to_seq}, and must for none"


def _state(day: str, line: State) -> Iterator[str]:
    yield from _accounts_for_none(line)
    window = _window(line.window)
    Snapshot.parse(line.snapshot)
    parse_lsn(line.lsn)
    if window.day != day:
        yield f"its window {line.window} is of another day"
    for file in line.files:
        yield from _name(
            day, file.path, state_folder(file.table), window, line.after_seq, line.chain
        )


def _segment(day: str, line: Segment) -> Iterator[str]:
    window = _window(line.window)
    if window.day != day:
        yield f"its window {line.window} is of another day"
    if not line.files:
        yield "it has no file"
        return
    if [file.path for file in line.files] != sorted({file.path for file in line.files}):
        yield "its files are not in the order of their paths, each once"
    for file in line.files:
        yield from _name(day, file.path, file.table, window, line.from_seq, line.chain)
        yield from _file(line, file)
    if line.counts.keys() != {file.table for file in line.files}:
        yield "its counts are of other tables than its files"
    if (found := sum(file.messages for file in line.files)) != line.messages:
        yield f"its files have {found} messages, it says {line.messages}"
    yield from _holes(line)
    first = min(line.files, key=lambda file: file.from_seq)
    last = max(line.files, key=lambda file: file.to_seq)
    if (first.first_time, last.last_time) != (line.first_time, line.last_time):
        yield "its first and last time are not those of its files"


def _file(line: Segment, file: File) -> Iterator[str]:
    nanoseconds(file.first_time)
    nanoseconds(file.last_time)
    if not line.from_seq <= file.from_seq <= file.to_seq <= line.to_seq:
        yield f"{file.path} has {file.from_seq} to {file.to_seq}, which is not in its range"
    if not 1 <= file.messages <= file.to_seq + 1 - file.from_seq:
        yield f"{file.path} cannot have {file.messages} messages in its range"
    if (counted := sum(line.counts.get(file.table, {}).values())) != file.messages:
        yield f"{file.path} has {file.messages} messages, {counted} are counted by type"


def _holes(line: Segment) -> Iterator[str]:
    place = line.from_seq
    for hole in line.holes:
        if not place <= hole.from_seq <= hole.to_seq <= line.to_seq:
            yield f"its hole {hole.from_seq} to {hole.to_seq} is not in its range, or overlaps"
        place = hole.to_seq + 1
    size = line.to_seq + 1 - line.from_seq
    if line.messages + manifest.missing(line) != size:
        yield (
            f"its {line.messages} messages and {manifest.missing(line)} lost ones do not make up "
            f"the {size} of its range"
        )


def _name(
    day: str, path: str, folder: str, window: Window, sequence: int, chain: int
) -> Iterator[str]:
    name = parse_path(day, path)
    if (
        name is None
        or name.part
        or (name.folder, name.window.clock) != (folder, window.clock)
        or (name.sequence, name.chain) != (sequence, chain)
    ):
        yield f"{path} is not the name that one of its files has"


def _window(text: str) -> Window:
    """ValueError for what is none."""
    seconds, rest = divmod(nanoseconds(text), 1_000_000_000)
    if rest:
        raise ValueError(f"its window {text} begins within a second")
    return Window(seconds)
