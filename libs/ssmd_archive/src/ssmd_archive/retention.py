"""How much there is of an archive, and removing its oldest days.

A day may have to stay though it is too old, as one that is not compacted yet, or not in the
bucket. Then all later ones stay, too: what is left of the chain has no gap.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from ssmd_archive.disk import Disk
from ssmd_archive.journal import Journal
from ssmd_archive.layout import is_day
from ssmd_archive.manifest import Removed

log = structlog.get_logger(__name__)

_REMOVED: Final = ".removed-"
"""Before the name of a day that is being deleted: it is no day any more."""


class Keep(NamedTuple):
    """What is kept at least of an archive: all of it where nothing is said."""

    days: int | None = None
    """The newest days that there are, whatever lies between them."""
    bytes: int | None = None


class Removal(NamedTuple):
    """What became of the days that are beyond what is kept, the oldest first."""

    removed: list[str]
    stay: list[str]
    why: str = ""
    """Why the first of those that stay does."""


class Usage(NamedTuple):
    bytes: int
    files: int


def usage(stream: Path) -> dict[str, Usage]:
    """What each day takes, the oldest first."""
    found = {}
    for folder in sorted(stream.iterdir()) if stream.is_dir() else []:
        if is_day(folder.name):
            sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
            found[folder.name] = Usage(sum(sizes), len(sizes))
    return found


def too_old(days: dict[str, Usage], keep: Keep) -> list[str]:
    """The days to remove, the oldest first; never the newest one. Pure."""
    names = sorted(days)
    found: list[str] = []
    total = sum(day.bytes for day in days.values())
    for name in names[:-1]:
        over_days = keep.days is not None and len(names) - len(found) > keep.days
        over_bytes = keep.bytes is not None and total > keep.bytes
        if not over_days and not over_bytes:
            break
        found.append(name)
        total -= days[name].bytes
    return found


def remove_old(
    disk: Disk,
    stream: Path,
    journal: Journal,
    keep: Keep,
    must_stay: Callable[[str], str | None] = lambda _: None,
) -> Removal:
    """Remove whole days, after the manifest says so. What is written to is never among them.

    `must_stay` says of a day why it has to, or None; it may read files.

    Raises:
        OSError: no room for the line, or a file cannot be removed; it may be tried again.
    """
    tail = journal.tail
    if tail is None:
        return Removal([], [])
    # Those that an earlier removal left when it was interrupted.
    for line in journal.lines(tail.day):
        if isinstance(line, Removed):
            for day in line.days:
                _remove(disk, stream / day)
    days = {day: used for day, used in usage(stream).items() if day <= tail.day}
    old, stay, why = too_old(days, keep), [], ""
    for number, day in enumerate(old):
        if (reason := must_stay(day)) is not None:
            old, stay, why = old[:number], old[number:], reason
            break
    if old:
        known = journal.days()
        digests = [found for day in old if day in known and (found := journal.last_digest(day))]
        if digests:
            journal.append(tail.day, Removed, days=old, last_line=digests[-1])
        for day in old:
            _remove(disk, stream / day)
        log.info("removed the oldest days", days=old)
    return Removal(old, stay, why)


def _remove(disk: Disk, folder: Path) -> None:
    """Take a day away as a whole, then delete what it had."""
    if folder.is_dir():
        disk.rename(folder, folder.parent / f"{_REMOVED}{folder.name}")
        disk.sync_directory(folder.parent)
    for gone in folder.parent.glob(f"{_REMOVED}*"):
        for path in sorted(gone.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
            else:
                disk.remove(path)
        gone.rmdir()
