"""Comparing everything because somebody asked for it, through the table `requests`."""

import asyncio
from typing import Any, Final

import msgspec
import psycopg
import redis.exceptions
import structlog

from ssmd_cache.database.rows import Connection
from ssmd_cache.housekeeping import Housekeeping
from ssmd_cache.metrics import REQUEST_WAITS, REQUESTS
from ssmd_cache.settings import CacheSettings
from ssmd_cache.verify.reconcile import compare_once
from ssmd_cache.verify.report import Report
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_common import requests
from ssmd_common.connections import postgres
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.leader import lock_key
from ssmd_common.metrics import ERRORS
from ssmd_common.runtime import Runtime

log = structlog.get_logger(__name__)

TASK: Final = "verify"
SHOWN: Final = 100
"""Differences, and rows that cannot be read, that a result has; all are counted."""

_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(%s, %s)"


class OnRequest:
    """Answers requests to verify, of this cache or of any in this database: one of them does."""

    def __init__(
        self,
        runtime: Runtime,
        settings: CacheSettings,
        writer: RedisWriter,
        housekeeping: Housekeeping,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._writer = writer
        self._housekeeping = housekeeping
        self._asked = asyncio.Event()

    async def watch(self) -> None:
        """Until the stop: see what is asked."""
        await requests.watch(
            self._runtime,
            self._settings.database_url,
            "cache",
            lambda task: self._asked.set() if task == TASK else None,
            REQUEST_WAITS,
            budget_seconds=self._settings.startup_budget_seconds,
        )

    async def run(self) -> None:
        """Until the stop: answer it."""
        while not self._runtime.stop.is_set():
            await self._runtime.until_stop(self._asked.wait())
            self._asked.clear()
            if self._runtime.stop.is_set():
                return
            try:
                await self._answer()
            except (psycopg.Error, UpstreamUnavailable) as error:
                # Open as it is, it is seen again.
                ERRORS.labels(kind="request").inc()
                log.warning("a request to verify was not answered", error=first_line(error))

    async def _answer(self) -> None:
        connection = await postgres.connect(
            self._settings.database_url,
            "ssmd-cache-request",
            budget_seconds=self._settings.startup_budget_seconds,
        )
        async with connection:
            # Held until the connection ends, whatever ends it.
            found = await connection.execute(_TRY_LOCK, lock_key(f"requests:cache:{TASK}"))
            if (await found.fetchone()) != (True,):
                return
            asked = await requests.take(connection, "cache", TASK)
            if asked:
                await self._verify(connection, asked)

    async def _verify(self, connection: Connection, asked: list[int]) -> None:
        try:
            report = await compare_once(
                self._runtime.health, self._settings, self._writer, self._housekeeping
            )
        except (redis.exceptions.RedisError, OSError) as error:
            await requests.answer(connection, asked, None, f"Redis: {first_line(error)}")
            REQUESTS.labels("failed").inc(len(asked))
            return
        if report is None:
            # Redis is behind: what differs now is no drift.
            await requests.give_back(connection, asked)
            return
        await requests.answer(connection, asked, summary(report))
        REQUESTS.labels("done").inc(len(asked))
        log.info("requests answered", requests=asked, drift=len(report.differences))


def summary(report: Report) -> dict[str, Any]:
    """What whoever asked is told."""
    return {
        "rows": report.rows,
        "entries": report.entries,
        "drift": len(report.differences),
        "differences": msgspec.to_builtins(report.differences[:SHOWN]),
        "unreadable": len(report.unreadable),
        "unreadable_rows": msgspec.to_builtins(report.unreadable[:SHOWN]),
    }
