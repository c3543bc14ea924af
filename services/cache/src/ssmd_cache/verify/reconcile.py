"""Comparing everything with PostgreSQL now and then, slowly, beside the work."""

from typing import Final

import psycopg
import redis.exceptions
import structlog

from ssmd_cache.housekeeping import Housekeeping
from ssmd_cache.metrics import DRIFT
from ssmd_cache.settings import CacheSettings
from ssmd_cache.unreadable import Unreadable
from ssmd_cache.verify.report import Report
from ssmd_cache.verify.verifier import PAUSE_SECONDS, RECHECKS, Verifier
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_common.connections import postgres
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.health import Health
from ssmd_common.metrics import ERRORS
from ssmd_common.runtime import Runtime

log = structlog.get_logger(__name__)

_PAGE_PAUSE_SECONDS: Final = 0.05


async def reconcile(
    runtime: Runtime,
    settings: CacheSettings,
    writer: RedisWriter,
    housekeeping: Housekeeping,
    unreadable: Unreadable,
) -> None:
    """Until the stop: compare, and ask for a warm-up where one is due."""
    while not await runtime.stopped_within(settings.cache_reconcile_seconds):
        try:
            report = await compare_once(runtime.health, settings, writer, housekeeping)
            if report is not None and not report.differences:
                unreadable.complete()
        except (
            psycopg.Error,
            redis.exceptions.RedisError,
            UpstreamUnavailable,
            OSError,
        ) as error:
            ERRORS.labels(kind="reconcile").inc()
            log.warning("reconciliation was cut short", error=first_line(error))


async def compare_once(
    health: Health, settings: CacheSettings, writer: RedisWriter, housekeeping: Housekeeping
) -> Report | None:
    """Compare, unless Redis is behind; what differs is logged and makes a warm-up due."""
    if _is_behind(health):
        return None
    connection = await postgres.connect(
        settings.database_url,
        "ssmd-cache-reconcile",
        budget_seconds=settings.startup_budget_seconds,
    )
    async with connection:
        report = await Verifier(
            connection,
            writer.client,
            writer.keys,
            # Longer in all than the stream may be behind without the health's telling.
            pause_seconds=max(PAUSE_SECONDS, settings.cache_ready_lag_seconds / (RECHECKS - 2)),
            page_pause_seconds=_PAGE_PAUSE_SECONDS,
        ).full()
    if _is_behind(health):
        return None
    DRIFT.set(len(report.differences))
    log.info("reconciled", rows=report.rows, entries=report.entries, drift=len(report.differences))
    if report.differences:
        sample = [f"{d.key} {d.field}" for d in report.differences[:5]]
        log.error("redis differs from the database", drift=len(report.differences), sample=sample)
        housekeeping.drift = f"{len(report.differences)} differences from the database were found"
    return report


def _is_behind(health: Health) -> bool:
    """Whether Redis is not what the stream makes of it: what differs is no drift then."""
    waits = any(health.conditions.get(name) for name in ("warm", "redis", "nats", "lag"))
    behind = waits or health.state != "following"
    if behind:
        log.info("reconciliation is put off, redis is behind")
    return behind
