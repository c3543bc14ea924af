"""Deletes old rows of `sync_runs` and `requests`, in small batches; nothing else here grows without
end."""

from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ssmd_common import requests
from ssmd_common.connections.clock import CLOCK
from ssmd_store.pages import Store
from ssmd_sync.runlog import QUERIES

log = structlog.get_logger(__name__)

BATCH_ROWS: Final = 1000
ROUND_SECONDS: Final = 3600.0


async def expire(store: Store, days: int) -> int:
    """Delete what began so many days ago, but for the last run and the last success of each job
    and scope, and what was asked of any service so many days ago; how many runs that were."""
    before = datetime.now(UTC) - timedelta(days=days)
    parameters = {"before": before, "limit": BATCH_ROWS}
    total = 0
    await CLOCK.require(store.connection)
    while deleted := (await store.connection.execute(QUERIES.expire_runs, parameters)).rowcount:
        total += deleted
        if deleted < BATCH_ROWS:
            break
    asked = 0
    while deleted := await requests.expire(store.connection, before, BATCH_ROWS):
        asked += deleted
        if deleted < BATCH_ROWS:
            break
    if asked:
        log.info("requests expired", rows=asked, retention_days=days)
    if total:
        log.info("runs expired", rows=total, retention_days=days)
    return total
