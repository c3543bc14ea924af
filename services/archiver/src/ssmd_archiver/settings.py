"""Settings of the archiver."""

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
    archiver_upload_seconds: float = Field(5.0, gt=0, le=3600)
    """How often is looked for sealed files that are not in the bucket."""
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

    @property
    def streams(self) -> list[str]:
        return _names(self.archiver_streams)

    @property
    def rotation(self) -> Rotation:
        return Rotation(self.archiver_rotate_seconds, self.archiver_rotate_bytes)

    @property
    def keep(self) -> Keep:
        return Keep(self.archiver_keep_days, self.archiver_keep_bytes)


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]
