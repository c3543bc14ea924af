"""Says how long the exchange has been silent, and when that is no accident."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import structlog

from ssmd_lifecycle import metrics
from ssmd_lifecycle.silence import Silence

log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 2.0


async def run(silence: Silence) -> None:
    """Keep the gauges, until cancelled; log once for each silence."""
    said = False
    while True:
        now = datetime.now(UTC)
        age = silence.age_seconds(now)
        metrics.LAST_MESSAGE_AGE.set(-1 if age is None else age)
        suspicious = silence.is_suspicious(now)
        metrics.SILENT.set(suspicious)
        if suspicious and not said:
            log.warning("the exchange is silent for longer than its rate explains", seconds=age)
        said = suspicious
        await asyncio.sleep(_EVERY_SECONDS)
