"""Whether compacted days are as they were written, and still belong to their sealed files.

What a record says of a day's sources is held against the archive's manifests, and what it says of
its own files against these. Needs no Parquet, but to count rows anew.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.errors import ArchiveDamaged
from ssmd_archive.hashing import hash_file
from ssmd_archive.parquet import record
from ssmd_archive.parquet.record import Made, Record
from ssmd_archive.verify import Finding

_AGAIN = "`ssmd archive compact --again --date {day}` makes the day anew"


class Compacted(msgspec.Struct):
    """What was looked at; a finding's `path` is of the archive's directory.

    Its `kind` is `missing`, `changed`, `extra` or `unreadable` of a file, `contradiction` of a
    record, `outdated` where a day is of other sealed files than the archive has now.
    """

    days: int = 0
    files: int = 0
    bytes: int = 0
    rows: int = 0
    findings: list[Finding] = []


def check(
    archive: Archive,
    *,
    rows_of: Callable[[Path], int] | None = None,
    hash_of: Callable[[Path], tuple[int, str]] = hash_file,
    progress: Callable[[int], None] = lambda _: None,
) -> Compacted:
    """Look at all compacted days of a stream.

    `hash_of` gives the size and SHA-256 of a file (FileNotFoundError: it is nowhere), by where it
    is or would be; with `rows_of` what it counts is compared, too.

    Raises:
        OSError: a directory cannot be read.
    """
    found = Compacted(findings=[])
    try:
        listed = list(archive.lines())
    except ArchiveDamaged:
        # `ssmd_archive.verify` says so; what Parquet is made of cannot be told then.
        listed = None
    for day in record.compacted_days(archive.root, archive.layout.stream):
        found.days += 1
        folder = record.folder_of(archive.root, archive.layout.stream, day)
        within = folder.relative_to(archive.root).as_posix()
        try:
            known = record.read_record(archive.root, archive.layout.stream, day)
        except ArchiveDamaged as error:
            what = str(error).partition(": ")[2] or str(error)
            found.findings.append(Finding(f"{within}/{record.RECORD}", None, "unreadable", what))
            continue
        assert known is not None, "it was there a moment ago"
        for made in known.tables:
            kind, what = _file(folder / made.path, made, hash_of, rows_of, found, progress)
            if kind:
                what = f"{what}: {_AGAIN.format(day=day)}"
                found.findings.append(Finding(f"{within}/{made.path}", None, kind, what))
        for kind, what in _record(known, archive, day, listed):
            found.findings.append(Finding(f"{within}/{record.RECORD}", None, kind, what))
        names = {record.RECORD} | {made.path for made in known.tables}
        found.findings += [
            Finding(f"{within}/{path.name}", None, "extra", "the day's record does not list it")
            for path in sorted(folder.iterdir())
            if path.name not in names
        ]
    return found


def _file(
    path: Path,
    made: Made,
    hash_of: Callable[[Path], tuple[int, str]],
    rows_of: Callable[[Path], int] | None,
    found: Compacted,
    progress: Callable[[int], None],
) -> tuple[str, str]:
    """What is wrong with a file, and in which way; nothing where all is well."""
    try:
        size, digest = hash_of(path)
    except FileNotFoundError:
        return "missing", "it is not there"
    except OSError as error:
        return "unreadable", str(error.strerror)
    found.files += 1
    found.bytes += size
    found.rows += made.rows
    progress(size)
    if (size, digest) != (made.bytes, made.sha256):
        return "changed", "it is not as it was written"
    if rows_of is not None and (rows := rows_of(path)) != made.rows:
        return "contradiction", f"it has {rows} rows, the day's record says {made.rows}"
    return "", ""


def _record(
    known: Record, archive: Archive, day: str, listed: list[Listed] | None
) -> Iterator[tuple[str, str]]:
    if (known.stream, known.day) != (archive.layout.stream, day):
        yield "contradiction", f"it is that of {known.day} of {known.stream}"
        return
    messages = sum(source.messages for source in known.sources)
    rows = sum(made.rows for made in known.tables)
    if not messages == rows == known.messages:
        told = f"its sources have {messages} messages, its tables {rows} rows"
        yield "contradiction", f"{told}; it says {known.messages}"
    if listed is None or day not in archive.days():
        # Retention removed what it was made of.
        return
    now = record.day_of(listed, day)
    sources = now.sources
    if not known.is_over:
        # Compacted in part: what came since is no fault.
        sources = sources[: len(known.sources)]
    if known.sources != sources or (known.is_over and known.lost != now.lost):
        what = (
            "the archive has other files of this day than it was made of, or lacks something else"
        )
        yield "outdated", f"{what}: {_AGAIN.format(day=day)}"
