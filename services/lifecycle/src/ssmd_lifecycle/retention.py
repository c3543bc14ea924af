"""Deletes lifecycle rows older than the retention, in small batches."""

from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common.runtime import Runtime
from ssmd_lifecycle import metrics
from ssmd_lifecycle.transactions import Pool, writing
from ssmd_store import log as rows

log = structlog.get_logger(__name__)

BATCH_ROWS: Final = 1000
_PAUSE_SECONDS: Final = 0.2
_ROUND_SECONDS: Final = 3600.0


async def run(runtime: Runtime, pool: Pool, days: int) -> None:
    """Once an hour, until the service stops."""
    while not runtime.stop.is_set():
        total = 0
        while deleted := await expire(pool, datetime.now(UTC) - timedelta(days=days)):
            total += deleted
            if deleted < BATCH_ROWS or await runtime.stopped_within(_PAUSE_SECONDS):
                break
        if total:
            log.info("rows expired", rows=total, retention_days=days)
        await runtime.stopped_within(_ROUND_SECONDS)


async def expire(pool: Pool, before: datetime) -> int:
    """Delete one batch of rows received before a time; how many they were."""
    async with writing(pool) as connection:
        deleted = await rows.expire(connection, before, BATCH_ROWS)
    metrics.EXPIRED.inc(deleted)
    return deleted
