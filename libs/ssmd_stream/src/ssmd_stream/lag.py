"""How far behind the stream its reader is, in the metrics and the health of a service."""

import time
from collections.abc import Sequence
from typing import Protocol

from prometheus_client import Gauge

from ssmd_common.metrics import LAG_SECONDS
from ssmd_stream.delivery import Delivery
from ssmd_stream.reader import Reader


class Reported(Protocol):
    """Of a service's health; whoever reads several streams has one for each."""

    lag_seconds: float | None

    def set(self, name: str, reason: str | None) -> None: ...


class Lag:
    """Further behind than `limit_seconds` is not ready; `messages` is the service's own gauge."""

    def __init__(self, health: Reported, limit_seconds: float, messages: Gauge) -> None:
        self._health = health
        self._limit_seconds = limit_seconds
        self._messages = messages

    def report(self, batch: Sequence[Delivery], reader: Reader) -> bool:
        """Whether it can be told: the batch is what was dealt with last, empty for nothing."""
        if batch:
            pending = batch[-1].pending
            behind = max(time.time() - batch[-1].stored_at, 0.0) if pending else 0.0
        elif reader.buffered == 0:
            pending, behind = 0, 0.0
        else:
            return False
        self._messages.set(pending)
        self._health.lag_seconds = behind
        # Of several streams the one that is furthest behind.
        LAG_SECONDS.set(self._health.lag_seconds)
        self._health.set(
            "lag",
            f"{behind:.0f} s ({pending} messages) behind the stream"
            if behind > self._limit_seconds
            else None,
        )
        return True
