"""Says how long the exchange has been silent, and when that is no accident."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common.runtime import Runtime
from ssmd_kalshi.feed import GapReason
from ssmd_lifecycle import metrics
from ssmd_lifecycle.feed.gaps import Gaps
from ssmd_lifecycle.feed.silence import Silence

log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 2.0
_AGAIN: Final = timedelta(minutes=10)


async def run(runtime: Runtime, silence: Silence, gaps: Gaps) -> None:
    """Keep the gauges, until cancelled. A subscription may have died while the pings go on: what
    was not heard is a gap, when a silence begins, and now and then while it lasts."""
    noted_at: datetime | None = None
    while True:
        now = datetime.now(UTC)
        age = silence.age_seconds(now)
        metrics.LAST_MESSAGE_AGE.set(-1 if age is None else age)
        suspicious = silence.is_suspicious(now)
        metrics.SILENT.set(suspicious)
        if not suspicious:
            noted_at = None
        elif silence.last_at is not None and (noted_at is None or now - noted_at >= _AGAIN):
            log.warning("the exchange is silent for longer than its rate explains", seconds=age)
            await gaps.add(runtime, GapReason.SILENCE.value, silence.last_at, now)
            noted_at = now
        await asyncio.sleep(_EVERY_SECONDS)
