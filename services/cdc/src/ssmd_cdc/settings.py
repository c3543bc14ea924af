"""Settings of cdc, from the environment (docs/contracts.md § 6)."""

from typing import Annotated

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from ssmd_common.settings import NatsSettings, PostgresSettings

SlotName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,63}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Prefix = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)?$")]


class CdcSettings(PostgresSettings, NatsSettings):
    """CDC_*, and the addresses of PostgreSQL and NATS."""

    cdc_slot: SlotName = "ssmd_cdc"
    """The replication slot, made when missing."""
    cdc_slot_failover: bool = False
    """Have standbys of PostgreSQL 17 or newer keep a copy of the slot (FAILOVER), so that after a
    promotion the stream goes on without a new epoch; the servers need settings, too
    ([topologies.md](topologies.md))."""
    cdc_publication: Identifier = "secmaster_cdc"
    """The publication, made when missing."""

    cdc_stream_max_age_seconds: int = Field(7 * 86400, ge=0)
    """How long the stream keeps a message; 0 is for ever."""
    cdc_stream_max_bytes: int = Field(4 << 30, ge=1 << 20)
    """How large the stream may grow; the oldest leave first."""
    cdc_stream_replicas: int = Field(1, ge=1, le=5)
    """Copies of the stream in a cluster of NATS servers."""
    cdc_durable: bool = False
    """For a NATS server (2.12 or newer) with sync_interval: always, where an acknowledgement means
    that a message is on disk: publish in atomic batches, so that one disk write stands for many.
    What the slot was told is then safe from a power failure. Without that, the last two minutes may
    be lost in one, which begins a new epoch."""
    cdc_republish: Prefix = ""
    """Also publish every message on core NATS below this subject, for example
    kalshi-prod.secmaster.changes; empty is off."""

    cdc_window_messages: int = Field(4096, ge=1)
    """Messages sent and not yet acknowledged, at most."""
    cdc_window_bytes: int = Field(16 << 20, ge=1 << 16)
    """Bytes sent and not yet acknowledged, at most."""
    cdc_ack_seconds: float = Field(10.0, gt=0)
    """So long without any acknowledgement, while messages are in flight, means that the connection
    is broken: the stream is asked what it has, and what it does not hold is sent again."""
    cdc_feedback_seconds: float = Field(1.0, gt=0, le=5)
    """How often PostgreSQL is told how far the stream is."""
    cdc_heartbeat_seconds: float = Field(5.0, gt=0, le=60)
    """How often a mark is written to the WAL, to measure the lag."""
    cdc_wal_sender_timeout_seconds: int = Field(10, ge=3, validate_default=True)
    """After this silence PostgreSQL frees the slot for the standby."""
    cdc_ready_lag_seconds: float = Field(30.0, gt=0)
    """Further behind than this is not ready."""
    cdc_ready_lag_bytes: int = Field(1 << 30, ge=1)
    """WAL from the slot's confirmed position to the server's end beyond this is not ready."""
    cdc_outage_budget_seconds: float = Field(300.0, gt=0)
    """How long NATS or PostgreSQL may be away before the process ends."""

    @field_validator("cdc_wal_sender_timeout_seconds")
    @classmethod
    def _outlasts_the_feedback(cls, seconds: int, info: ValidationInfo) -> int:
        if 2 * info.data.get("cdc_feedback_seconds", 0) >= seconds:
            raise ValueError(
                "PostgreSQL would hang up between two reports: set this to more than twice "
                "CDC_FEEDBACK_SECONDS"
            )
        return seconds
