"""Settings of the archiver."""

import re
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator

from ssmd_archive.bucket_settings import BucketSettings
from ssmd_archive.layout import layout_of
from ssmd_archive.retention import Keep
from ssmd_archive.writer import Rotation
from ssmd_common.settings import NatsSettings, PostgresSettings

BOOKS: Final = "MARKET_BOOKS_*"
"""All streams of order books that there are."""
COMPACTED: Final = "compacted"

_UNITS: Final = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_KEEP: Final = re.compile(
    r"(?P<stream>[A-Z_]+(?:\d+|\*)?)=(?:all|(?:(?P<days>[1-9]\d{0,4})d)?(?:/?(?P<size>[1-9]\d{0,6})"
    r"(?P<unit>[MGT]iB))?)"
)


def parse_keep(text: str) -> dict[str, Keep]:
    """What is kept of single streams; ValueError where it cannot be told."""
    found: dict[str, Keep] = {}
    for part in _names(text):
        match = _KEEP.fullmatch(part)
        if match is None or part.endswith(("=", "/")) or "=/" in part:
            raise ValueError(
                f"{part!r}: give a stream and what is kept of it, such as MARKET_DATA=30d, "
                f"{BOOKS}=7d/200GiB, SECMASTER_CDC=all"
            )
        stream = match["stream"]
        if (stream != BOOKS and layout_of(stream) is None) or stream in found:
            raise ValueError(f"{stream} is no stream of ours, or is there twice")
        days, size = match["days"], match["size"]
        found[stream] = Keep(
            int(days) if days else None, int(size) * _UNITS[match["unit"]] if size else None
        )
    return found


class ArchiverSettings(PostgresSettings, NatsSettings, BucketSettings):
    """ARCHIVER_* and the addresses of PostgreSQL and NATS."""

    archiver_root: Path = Path("/var/lib/ssmd/archive")
    """The directory of the archive, made where it is not there. One archiver writes to it."""
    archiver_streams: str = f"SECMASTER_CDC,MARKET_DATA,{BOOKS}"
    """The streams to archive, with commas between; `MARKET_BOOKS_*` is each one of order books that
    there is or comes. One that does not exist is waited for. For a process each give each an
    ARCHIVER_ROOT of its own."""
    archiver_rotate_seconds: int = Field(900, ge=1, le=86_400)
    """Files are sealed at multiples of this from midnight UTC, by the server's clock."""
    archiver_rotate_bytes: int = Field(256 << 20, ge=1 << 16)
    """Files are sealed earlier once they have this many bytes in sum, compressed."""
    archiver_flush_seconds: float = Field(5.0, gt=0, le=300)
    """How long lines wait in memory before they are written to files that are not sealed."""
    archiver_keep_days: int | None = Field(None, ge=1)
    """The newest days that are kept of each stream, of those there are; by default all."""
    archiver_keep_bytes: int | None = Field(None, ge=1 << 20)
    """The oldest days of a stream are removed while it has more bytes; by default none is."""
    archiver_bucket_local_days: int | None = Field(None, ge=1)
    """The newest days of each stream whose files stay here when the bucket has them; by default
    all do."""
    archiver_bucket_parquet: bool = False
    """Whether Parquet of compacted days is uploaded, too (`ssmd archive compact`)."""
    archiver_upload_seconds: float = Field(5.0, gt=0, le=3600)
    """How often is looked for sealed files that are not in the bucket."""
    archiver_keep: str = ""
    """Of single streams in the place of the two above, with commas between: `MARKET_DATA=30d`,
    `MARKET_BOOKS_*=7d/200GiB`, `SECMASTER_CDC=all`."""
    archiver_remove_only: str = ""
    """`compacted`: a day beyond what is kept stays until its Parquet is there, made of the very
    files (`ssmd archive compact`). Later days stay with it."""
    archiver_snapshot_wait_seconds: float = Field(30.0, ge=0)
    """How long a state waits for older transactions before it joins the stream early."""
    archiver_ready_lag_seconds: float = Field(300.0, gt=0)
    """Further behind the stream than this is not ready."""

    @field_validator("archiver_streams")
    @classmethod
    def _streams_are_ours(cls, text: str) -> str:
        names = _names(text)
        for name in names:
            if name != BOOKS and layout_of(name) is None:
                raise ValueError(
                    f"{name!r} is no stream of ours: give some of SECMASTER_CDC, MARKET_DATA, "
                    f"MARKET_BOOKS_0 (and so on) and {BOOKS}, with commas between"
                )
        if not names or len(set(names)) < len(names):
            raise ValueError("name at least one stream, and none twice")
        shards = [name for name in names if name.startswith(BOOKS[:-1]) and name != BOOKS]
        if BOOKS in names and shards:
            raise ValueError(f"{BOOKS} has all streams of books: leave the others out")
        return text

    @field_validator("archiver_keep")
    @classmethod
    def _what_is_kept_is_said(cls, text: str) -> str:
        parse_keep(text)
        return text

    @field_validator("archiver_remove_only")
    @classmethod
    def _conditions_are_known(cls, text: str) -> str:
        if unknown := set(_names(text)) - {COMPACTED}:
            raise ValueError(f"{', '.join(sorted(unknown))}: give {COMPACTED}, or nothing")
        return text

    @property
    def streams(self) -> list[str]:
        return _names(self.archiver_streams)

    @property
    def rotation(self) -> Rotation:
        return Rotation(self.archiver_rotate_seconds, self.archiver_rotate_bytes)

    def keep_of(self, stream: str) -> Keep:
        """What is kept of a stream."""
        single = parse_keep(self.archiver_keep)
        books = single.get(BOOKS) if stream.startswith(BOOKS[:-1]) else None
        every = Keep(self.archiver_keep_days, self.archiver_keep_bytes)
        return single.get(stream) or books or every

    @property
    def removes_compacted_only(self) -> bool:
        return COMPACTED in _names(self.archiver_remove_only)


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]
