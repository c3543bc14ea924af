"""What a session tells of itself, in health and metrics: how far it is, how far behind, and why."""

import math
from typing import Any, Final

import structlog

from ssmd_cdc import metrics
from ssmd_cdc.encode.envelope import protocol_time, utc
from ssmd_cdc.replication.heartbeat import Heartbeats
from ssmd_cdc.settings import CdcSettings
from ssmd_common.health import Health
from ssmd_common.metrics import LAG_SECONDS
from ssmd_stream.change import Position, format_lsn

log = structlog.get_logger(__name__)

_HELD_BACK: Final = "which sends no change before its standbys have it (synchronized_standby_slots)"


class Report:
    """Of one session."""

    def __init__(self, health: Health, settings: CdcSettings, heartbeats: Heartbeats) -> None:
        self.flowed = False
        """Whether a mark of ours came through to the stream in time."""
        self.held_back = False
        """Whether the server waits for its standbys before it sends us anything."""
        self._health = health
        self._settings = settings
        self._heartbeats = heartbeats
        self._committed_at: float | None = None

    def passed(self, committed_at: float, now: float) -> None:
        """A transaction is acknowledged; both times in seconds since 1970."""
        self._committed_at = committed_at
        metrics.COMMIT_TO_ACK_SECONDS.observe(max(0.0, now - committed_at))

    def lag(self, position: Position, sequence: int, now: float) -> None:
        """What is acknowledged, and how far that is behind; `now` is the loop's time in seconds."""
        lag = self._heartbeats.lag_seconds(now)
        reason = None
        if lag is None or self._heartbeats.round_trip is None:
            reason = "no mark in the WAL has come back yet"
        elif lag > self._settings.cdc_ready_lag_seconds:
            reason = f"the stream is {lag:.0f} s behind the database"
            if self.held_back:
                reason += f", {_HELD_BACK}"
        else:
            self.flowed = True
        if lag is not None:
            LAG_SECONDS.set(lag)
        self._health.lag_seconds = lag
        committed = self._committed_at
        self._health.position = {
            "epoch": position.epoch,
            "lsn": format_lsn(position.lsn),
            "stream_sequence": sequence,
            "commit_time": None if committed is None else utc(protocol_time(committed)),
        }
        if self._heartbeats.round_trip is not None:
            metrics.HEARTBEAT_SECONDS.set(self._heartbeats.round_trip)
        self._health.set("lag", reason)

    def slot(self, slot: dict[str, Any] | None) -> None:
        """The row of `queries.slot`, if there is one."""
        if slot is None:
            return
        self.held_back = bool(slot["held_back"])
        metrics.SLOT_LAG_BYTES.set(slot["lag_bytes"])
        metrics.SLOT_RETAINED_BYTES.set(slot["retained_bytes"])
        safe = slot["safe_wal_size"]
        metrics.SLOT_SAFE_BYTES.set(math.nan if safe is None else safe)
        behind = slot["lag_bytes"]
        too_far = behind > self._settings.cdc_ready_lag_bytes
        self._health.set("slot", f"the slot is {behind} bytes behind the WAL" if too_far else None)

    def announced(self, epoch: int, rows: int, state_bytes: int) -> None:
        """All of the state is in the stream, where it takes so many bytes.

        Who reads the snapshot late finds its beginning discarded if it has no room.
        """
        log.info("state announced", epoch=epoch, rows=rows, bytes=state_bytes)
        cap, reason = self._settings.cdc_stream_max_bytes, None
        if state_bytes > cap:
            reason = (
                f"CDC_STREAM_MAX_BYTES is too small for the state: it takes {state_bytes} bytes of "
                f"the stream, which keeps {cap}. Readers that begin with the stream miss what it "
                f"discarded: set it to {2 * state_bytes} or more"
            )
            log.error("the stream is too small", bytes=state_bytes, kept_bytes=cap)
        self._health.degrade("stream", reason)
