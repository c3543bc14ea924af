"""Says how long the exchange has been silent, and when that is no accident."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_lifecycle import metrics
from ssmd_lifecycle.silence import Silence

log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 2.0
_AGAIN: Final = timedelta(minutes=10)

OnSilence = Callable[[datetime, datetime], Awaitable[None]]
"""Told since when nothing came, and until when."""


async def run(silence: Silence, on_silence: OnSilence) -> None:
    """Keep the gauges, until cancelled; tell of a silence when it begins, and now and then while it
    lasts."""
    told_at: datetime | None = None
    while True:
        now = datetime.now(UTC)
        age = silence.age_seconds(now)
        metrics.LAST_MESSAGE_AGE.set(-1 if age is None else age)
        suspicious = silence.is_suspicious(now)
        metrics.SILENT.set(suspicious)
        if not suspicious:
            told_at = None
        elif silence.last_at is not None and (told_at is None or now - told_at >= _AGAIN):
            log.warning("the exchange is silent for longer than its rate explains", seconds=age)
            await on_silence(silence.last_at, now)
            told_at = now
        await asyncio.sleep(_EVERY_SECONDS)
