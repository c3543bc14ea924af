"""What an earlier process left: files that no line of a manifest lists."""

from pathlib import Path
from typing import NamedTuple

import structlog

from ssmd_archive.disk import Disk
from ssmd_archive.journal import Journal, Tail
from ssmd_archive.layout import MANIFEST, FileName, is_day, parse_path
from ssmd_archive.manifest import Segment, State
from ssmd_archive.segment import OpenSegment

log = structlog.get_logger(__name__)


class Unlisted(NamedTuple):
    day: str
    path: str
    name: FileName


def unlisted(journal: Journal, stream: Path, since: str) -> list[Unlisted]:
    """Files of ours from a day on that no manifest lists, ordered by day and path."""
    found = []
    for folder in sorted(stream.iterdir()) if stream.is_dir() else []:
        day = folder.name
        if not is_day(day) or day < since:
            continue
        listed: set[str] = set()
        if (folder / MANIFEST).is_file():
            for line in journal.lines(day):
                if isinstance(line, Segment | State):
                    listed.update(file.path for file in line.files)
        for file in sorted(folder.rglob("*.jsonl.gz*")):
            path = file.relative_to(folder).as_posix()
            name = parse_path(day, path)
            if name is not None and path not in listed:
                found.append(Unlisted(day, path, name))
    return found


def recover(disk: Disk, stream: Path, journal: Journal) -> OpenSegment | None:
    """The segment that was being written, ready to be read from the stream again.

    Files of an unfinished state are removed: it is taken anew. What belongs to neither is left as
    it is, and said.
    """
    tail = journal.tail
    if tail is None:
        return None
    segments: dict[tuple[str, int], list[Unlisted]] = {}
    for file in unlisted(journal, stream, tail.day):
        if file.name.is_state:
            disk.remove(stream / file.day / file.path)
        elif (file.name.sequence, file.name.chain) == (tail.next_sequence, tail.chain):
            segments.setdefault((file.day, file.name.window.start), []).append(file)
        else:
            log.warning("a file belongs to no segment, leaving it", path=f"{file.day}/{file.path}")
    found: OpenSegment | None = None
    for files in segments.values():
        segment = _read_back(disk, stream, tail, files)
        if segment.last is None:
            # Nothing whole was in them.
            for empty in segment.files.values():
                empty.discard()
        elif found is None:
            found = segment
        else:
            segment.close()
            log.warning("two segments begin alike, leaving the later one", path=files[0].path)
    return found


def _read_back(disk: Disk, stream: Path, tail: Tail, files: list[Unlisted]) -> OpenSegment:
    window, reached = files[0].name.window, tail.window
    if (window.day, window.clock) == (reached.day, reached.clock):
        # The name says the minute only; within it the windows may be of seconds.
        window = max(window, reached)
    segment = OpenSegment(disk, stream, window, tail.next_sequence, tail.chain)
    segment.read_back(sorted({file.name.folder for file in files}))
    log.info(
        "continuing files that an earlier process began",
        day=files[0].day,
        from_seq=segment.from_seq,
        last_seq=segment.last_present,
    )
    return segment
