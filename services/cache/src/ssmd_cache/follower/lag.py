"""How far Redis is behind the stream (`ssmd_stream.lag`), and the position that it reflects."""

from ssmd_cache.metrics import LAG_MESSAGES
from ssmd_cache.writer.position import CachePosition
from ssmd_common.health import Health
from ssmd_stream import lag
from ssmd_stream.delivery import Delivery
from ssmd_stream.reader import Reader


class Lag:
    """Further behind than `limit_seconds` is not ready."""

    def __init__(self, health: Health, limit_seconds: float) -> None:
        self._health = health
        self._lag = lag.Lag(health, limit_seconds, LAG_MESSAGES)

    def report(self, batch: list[Delivery], reader: Reader, position: CachePosition) -> None:
        """All up to the position is written; the batch was the last one, empty for none."""
        self._health.position |= {
            "sequence": position.sequence,
            "epoch": position.epoch,
            "lsn": position.lsn,
        }
        self._lag.report(batch, reader)
