"""Deletes old rows of `sync_runs`, in small batches; nothing else in sync grows without end."""

from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common.connections.clock import CLOCK
from ssmd_store.pages import Store
from ssmd_sync.runlog import QUERIES

log = structlog.get_logger(__name__)

BATCH_ROWS: Final = 1000
ROUND_SECONDS: Final = 3600.0


async def expire(store: Store, days: int) -> int:
    """Delete what began so many days ago, but for the last run and the last success of each job
    and scope; how many rows that were."""
    parameters = {"before": datetime.now(UTC) - timedelta(days=days), "limit": BATCH_ROWS}
    total = 0
    await CLOCK.require(store.connection)
    while deleted := (await store.connection.execute(QUERIES.expire_runs, parameters)).rowcount:
        total += deleted
        if deleted < BATCH_ROWS:
            break
    if total:
        log.info("runs expired", rows=total, retention_days=days)
    return total
