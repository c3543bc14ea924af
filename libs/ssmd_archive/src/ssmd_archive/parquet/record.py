"""What is written beside a compacted day: of which sealed files it was made, and what it has.

    <root>/parquet/<stream>/day=<YYYY-MM-DD>/<table>.parquet
    <root>/parquet/<stream>/day=<YYYY-MM-DD>/manifest.json

Needs no Parquet: the archiver reads it, too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.errors import ArchiveDamaged
from ssmd_archive.hashing import hash_file
from ssmd_archive.layout import is_day
from ssmd_archive.losses import losses
from ssmd_archive.manifest import Segment

FOLDER: Final = "parquet"
RECORD: Final = "manifest.json"
_DAY: Final = "day="


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed file; `path` is of the stream's day."""

    path: str
    chain: int
    from_seq: int
    to_seq: int
    messages: int
    sha256: str


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """Sequences of the day that no file has, as the archive's manifest says."""

    chain: int
    from_seq: int
    to_seq: int
    kind: str
    why: str


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A file of Parquet."""

    path: str
    table: str
    rows: int
    bytes: int
    sha256: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A compacted day. Rows of all tables are the messages of all sources.

    `is_over` is false of a day that was compacted before the archive had gone past it. The times
    are those of the first and the last message.
    """

    v: int = 1
    schema: int
    stream: str
    day: str
    is_over: bool
    messages: int
    first_time: str | None
    last_time: str | None
    lost: list[Lost]
    sources: list[Source]
    tables: list[Made]
    made_by: str
    """The programs that wrote the files."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the day is known to be missing."""
        return self.is_over and not self.lost


class Day(NamedTuple):
    """What the manifests say of a day."""

    segments: list[Segment]
    lost: list[Lost]
    is_over: bool

    @property
    def sources(self) -> list[Source]:
        return [
            Source(
                path=file.path,
                chain=segment.chain,
                from_seq=file.from_seq,
                to_seq=file.to_seq,
                messages=file.messages,
                sha256=file.sha256,
            )
            for segment in self.segments
            for file in segment.files
        ]


def day_of(listed: list[Listed], day: str) -> Day:
    """A day of a stream; it is over where a later one has a line."""
    lines = [listing for listing in listed if listing.day == day]
    return Day(
        [line for _, line in lines if isinstance(line, Segment)],
        [
            Lost(
                chain=loss.chain,
                from_seq=loss.from_seq,
                to_seq=loss.to_seq,
                kind=loss.kind,
                why=loss.why,
            )
            for loss in losses(lines)
        ],
        is_over=any(listing.day > day for listing in listed),
    )


def folder_of(root: Path, stream: str, day: str) -> Path:
    return root / FOLDER / stream / f"{_DAY}{day}"


def compacted_days(root: Path, stream: str) -> Iterator[str]:
    """Days of a stream that have Parquet, the oldest first."""
    found = root / FOLDER / stream
    names = sorted(path.name for path in found.iterdir()) if found.is_dir() else []
    for name in names:
        day = day_in(name)
        if day is not None and (found / name / RECORD).is_file():
            yield day


def day_in(name: str) -> str | None:
    """The day of a folder; None where it is none of a day."""
    day = name.removeprefix(_DAY)
    return day if name.startswith(_DAY) and is_day(day) else None


def read_record(root: Path, stream: str, day: str) -> Record | None:
    """None where the day is not compacted.

    Raises:
        ArchiveDamaged: it cannot be read.
    """
    path = folder_of(root, stream, day) / RECORD
    try:
        return decode(path, path.read_bytes())
    except FileNotFoundError:
        return None


def decode(path: Path, content: bytes) -> Record:
    """What a record says.

    Raises:
        ArchiveDamaged: it cannot be read.
    """
    try:
        return msgspec.json.decode(content, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArchiveDamaged(
            f"{path} cannot be read ({error}): `ssmd archive compact --again --date "
            f"{day_in(path.parent.name)}` makes the day anew"
        ) from error


def why_not_compacted(archive: Archive, day: str) -> str | None:
    """Why a day's sealed files are still needed; None where its Parquet has all that they have, by
    their hashes and its own.

    Raises:
        ArchiveDamaged: a manifest of the archive cannot be read.
    """
    try:
        found = read_record(archive.root, archive.layout.stream, day)
    except ArchiveDamaged as error:
        return str(error)
    if found is None:
        return "it is not compacted: `ssmd archive compact`"
    if not is_of(archive.root, found, day_of(list(archive.lines()), day)):
        return "it has other files than it was compacted of: `ssmd archive compact`"
    folder = folder_of(archive.root, found.stream, day)
    for made in found.tables:
        if hash_file(folder / made.path)[1] != made.sha256:
            return f"its {made.path} is not as it was written: `ssmd archive compact --again`"
    return None


def is_of(root: Path, record: Record, day: Day) -> bool:
    """Whether a record is of what the day has now."""
    folder = folder_of(root, record.stream, record.day)
    try:
        sizes = [(folder / made.path).stat().st_size for made in record.tables]
    except FileNotFoundError:
        return False
    return (
        record.sources == day.sources
        and record.lost == day.lost
        and record.is_over == day.is_over
        and sizes == [made.bytes for made in record.tables]
    )
