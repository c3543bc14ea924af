"""Comparing everything with PostgreSQL now and then, slowly, beside the work."""

import psycopg
import redis.exceptions
import structlog

from ssmd_cache.housekeeping import Housekeeping
from ssmd_cache.metrics import DRIFT
from ssmd_cache.redis_sink import RedisSink
from ssmd_cache.settings import CacheSettings
from ssmd_cache.verify import Verifier
from ssmd_common.connections import postgres
from ssmd_common.connections.retry import first_line
from ssmd_common.metrics import ERRORS
from ssmd_common.runtime import Runtime

log = structlog.get_logger(__name__)

_PAGE_PAUSE_SECONDS = 0.05


async def reconcile(
    runtime: Runtime, settings: CacheSettings, sink: RedisSink, housekeeping: Housekeeping
) -> None:
    """Until the stop: compare, and ask for a new picture where one is due."""
    while not await runtime.stopped_within(settings.cache_reconcile_seconds):
        if runtime.health.conditions.get("warm"):
            continue
        try:
            await _once(settings, sink, housekeeping)
        except (psycopg.OperationalError, redis.exceptions.RedisError, OSError) as error:
            ERRORS.labels(kind="reconcile").inc()
            log.warning("reconciliation was cut short", error=first_line(error))


async def _once(settings: CacheSettings, sink: RedisSink, housekeeping: Housekeeping) -> None:
    connection = await postgres.connect(
        settings.database_url,
        "ssmd-cache-reconcile",
        budget_seconds=settings.startup_budget_seconds,
    )
    async with connection:
        report = await Verifier(
            connection, sink.client, sink.keys, page_pause_seconds=_PAGE_PAUSE_SECONDS
        ).full()
    DRIFT.set(len(report.differences))
    log.info("reconciled", rows=report.rows, entries=report.entries, drift=len(report.differences))
    if report.differences:
        sample = [f"{d.key} {d.field}" for d in report.differences[:5]]
        log.error("redis differs from the database", drift=len(report.differences), sample=sample)
        housekeeping.drift = f"{len(report.differences)} differences from the database were found"
