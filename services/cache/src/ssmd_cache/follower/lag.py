"""How far Redis is behind the stream, and what it reflects."""

import time

from ssmd_cache.metrics import LAG_MESSAGES
from ssmd_cache.writer.position import CachePosition
from ssmd_common.health import Health
from ssmd_common.metrics import LAG_SECONDS
from ssmd_stream.delivery import Delivery
from ssmd_stream.reader import Reader


class Lag:
    """Further behind than `limit_seconds` is not ready."""

    def __init__(self, health: Health, limit_seconds: float) -> None:
        self._health = health
        self._limit_seconds = limit_seconds

    def report(self, batch: list[Delivery], reader: Reader, position: CachePosition) -> None:
        """All up to the position is written; the batch was the last one, empty for none."""
        self._health.position |= {
            "sequence": position.sequence,
            "epoch": position.epoch,
            "lsn": position.lsn,
        }
        if batch:
            pending = batch[-1].pending
            behind = max(time.time() - batch[-1].stored_at, 0.0) if pending else 0.0
        elif reader.buffered == 0:
            pending, behind = 0, 0.0
        else:
            return
        LAG_MESSAGES.set(pending)
        LAG_SECONDS.set(behind)
        self._health.lag_seconds = behind
        self._health.set(
            "lag",
            f"{behind:.0f} s ({pending} messages) behind the stream"
            if behind > self._limit_seconds
            else None,
        )
