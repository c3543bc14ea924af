"""What grows without end is cut: rows of `sync_runs` and `requests`, in small batches, and history,
by month."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import structlog

from ssmd_common import requests
from ssmd_common.connections.clock import CLOCK
from ssmd_common.connections.retry import first_line
from ssmd_store.pages import Store
from ssmd_sync import metrics
from ssmd_sync.runlog import QUERIES
from ssmd_sync.settings import SyncSettings

log = structlog.get_logger(__name__)

BATCH_ROWS: Final = 1000
ROUND_SECONDS: Final = 3600.0
PATIENCE: Final = timedelta(seconds=10)
"""How long it is tried to have all of history alone for a moment."""
BUSY_SECONDS: Final = 60.0
"""How long after history was in use by others, so that nothing could be done."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept."""

    run_days: int
    history_days: int
    history_max_bytes: int | None = None

    @classmethod
    def of(cls, settings: SyncSettings) -> "Retention":
        return cls(
            settings.sync_retention_days,
            settings.sync_history_days,
            settings.sync_history_max_bytes,
        )

    async def __call__(self, store: Store) -> float:
        """Cut what is too old or too large; after how many seconds to look again."""
        await expire(store, self.run_days)
        is_done = await maintain_history(store, self.history_days, self.history_max_bytes)
        return ROUND_SECONDS if is_done else BUSY_SECONDS


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


async def maintain_history(store: Store, days: int, max_bytes: int | None = None) -> bool:
    """Make partitions of this month and the next, drop those that are too old or too large; False
    where others used them all the time."""
    await CLOCK.require(store.connection)
    keep = {"keep": timedelta(days=days), "max_bytes": max_bytes, "patience": PATIENCE}
    try:
        rows = await (await store.connection.execute(QUERIES.maintain_history, keep)).fetchall()
    except psycopg.errors.LockNotAvailable as error:
        log.warning("history is in use, its months wait", reason=first_line(error))
        return False
    if done := [str(row[0]) for row in rows]:
        log.info("history maintained", done=done, history_days=days)
    size = await (await store.connection.execute(QUERIES.history_bytes)).fetchone()
    metrics.HISTORY_BYTES.set(size[0] if size else 0)
    metrics.HISTORY_MAINTAINED.set_to_current_time()
    return True
