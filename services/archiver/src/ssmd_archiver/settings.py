"""Settings of the archiver."""

from pathlib import Path

from pydantic import Field

from ssmd_archive.retention import Keep
from ssmd_archive.writer import Rotation
from ssmd_common.settings import NatsSettings, PostgresSettings


class ArchiverSettings(PostgresSettings, NatsSettings):
    """ARCHIVER_* and the addresses of PostgreSQL and NATS."""

    archiver_root: Path = Path("/var/lib/ssmd/archive")
    """The directory of the archive, made where it is not there. One archiver writes to it."""
    archiver_rotate_seconds: int = Field(900, ge=1, le=86_400)
    """Files are sealed at multiples of this from midnight UTC, by the server's clock."""
    archiver_rotate_bytes: int = Field(256 << 20, ge=1 << 16)
    """Files are sealed earlier once they have this many bytes in sum, compressed."""
    archiver_flush_seconds: float = Field(5.0, gt=0, le=300)
    """How long lines wait in memory before they are written to files that are not sealed."""
    archiver_keep_days: int | None = Field(None, ge=1)
    """The newest days that are kept, of those there are; by default all."""
    archiver_keep_bytes: int | None = Field(None, ge=1 << 20)
    """The oldest days are removed while the archive has more bytes; by default none is."""
    archiver_snapshot_wait_seconds: float = Field(30.0, ge=0)
    """How long a state waits for older transactions before it joins the stream early."""
    archiver_ready_lag_seconds: float = Field(300.0, gt=0)
    """Further behind the stream than this is not ready."""

    @property
    def rotation(self) -> Rotation:
        return Rotation(self.archiver_rotate_seconds, self.archiver_rotate_bytes)

    @property
    def keep(self) -> Keep:
        return Keep(self.archiver_keep_days, self.archiver_keep_bytes)
