"""What the cache does besides the stream, now and then, between two batches."""

import asyncio
import time
from typing import Any, Final

import psycopg
import structlog

from ssmd_cache.database.lookup import Lookup
from ssmd_cache.errors import ContentsLost, SequenceGap
from ssmd_cache.metrics import KEYS, REDIS_MEMORY_BYTES, SWEPT
from ssmd_cache.settings import CacheSettings
from ssmd_cache.writer.position import CachePosition
from ssmd_cache.writer.redis_retry import RedisRetry
from ssmd_cache.writer.redis_writer import RedisWriter
from ssmd_common.connections import redis as connections
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.health import Health
from ssmd_common.tasks import end

log = structlog.get_logger(__name__)

_SWEEP_MOST: Final = 500
_END_SECONDS: Final = 3.0
_SLOW_SECONDS: Final = 5.0
"""How often the size of what Redis holds and the last sync are looked at."""


class Housekeeping:
    """Sweeps expired keys, checks what Redis holds, copies the last sync's time."""

    def __init__(
        self,
        settings: CacheSettings,
        writer: RedisWriter,
        lookup: Lookup,
        health: Health,
        retry: RedisRetry,
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._lookup = lookup
        self._health = health
        self._retry = retry
        self._master = connections.MasterWatch(writer.client)
        self._checked = self._measured = float("-inf")
        self._asked: asyncio.Task[str | None] | None = None
        self._unanswered = 0
        self._run_id: str | None = None
        self.requested = 0
        """How many rebuilds were ever asked for."""
        self.drift: str | None = None
        """Set by the reconciliation when it found that a warm-up is due."""

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._checked >= self._settings.cache_check_seconds

    async def work(self, position: CachePosition) -> str | None:
        """Do what is due, while no batch is under way; a reason if a warm-up is wanted.

        Raises:
            ContentsLost: Redis was emptied.
            SequenceGap: Redis holds an older state than was written.
        """
        now = self._checked = time.monotonic()
        slow = now - self._measured >= _SLOW_SECONDS
        if slow:
            await self._follow_master()
        await self._check(position)
        await self._sweep()
        if slow:
            self._measured = now
            await self._measure()
            self._ask_last_sync()
        await self._copy_last_sync()
        await self.look_for_requests()
        if self.requested > position.rebuilds:
            return "a rebuild was asked for"
        drift, self.drift = self.drift, None
        return drift

    async def _follow_master(self) -> None:
        """Leave a server that others take for the master no more, though it answers us still. What
        the new one holds is looked at next, as after a restart."""
        if await self._retry.call(self._master.follow):
            log.warning("redis moved or was restarted: the new master is written to from here on")

    async def look_for_requests(self) -> None:
        """Learn how many rebuilds were asked for."""
        key = self._writer.keys.own("rebuild_requests")
        text = await self._retry.call(lambda: self._writer.client.get(key))
        self.requested = int(text) if text is not None and text.isdigit() else 0

    async def _check(self, position: CachePosition) -> None:
        found = await self._retry.call(self._writer.position)
        if found is None or not found.warm:
            raise ContentsLost("Redis was emptied")
        if found.sequence < position.sequence:
            raise SequenceGap(found.sequence)

    async def _sweep(self) -> None:
        while True:
            due, swept = await self._retry.call(lambda: self._writer.sweep(_SWEEP_MOST))
            SWEPT.inc(swept)
            if due < _SWEEP_MOST:
                return

    async def _measure(self) -> None:
        client, keys = self._writer.client, self._writer.keys

        async def ask() -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            pipeline.hlen(keys.markets)
            pipeline.hlen(keys.events)
            pipeline.hlen(keys.own("series"))
            pipeline.hlen(keys.own("fees"))
            pipeline.zcard(keys.expiring)
            pipeline.hlen(keys.own("markets"))
            pipeline.hlen(keys.own("events"))
            pipeline.info()
            return list(await pipeline.execute())

        *counts, market_records, event_records, info = await self._retry.call(ask)
        if counts[0] > market_records or counts[1] > event_records:
            # Every entry has one: without them nothing that is missing would be found out.
            self.drift = "records of the cache's own are missing"
        for kind, count in zip(
            ("markets", "events", "series", "fees", "expiring"), counts, strict=True
        ):
            KEYS.labels(kind=kind).set(count)
        REDIS_MEMORY_BYTES.set(info.get("used_memory", 0))
        policy = info.get("maxmemory_policy", "noeviction")
        # An evicted key is a hole that no reader can tell from a market that does not exist.
        self._health.set(
            "eviction",
            f"Redis evicts keys when it is full (maxmemory-policy {policy}): set it to noeviction"
            if policy != "noeviction" and info.get("maxmemory", 0)
            else None,
        )
        run_id = str(info.get("run_id"))
        if self._run_id not in (None, run_id):
            log.info("redis was restarted", run_id=run_id)
        self._run_id = run_id

    def _ask_last_sync(self) -> None:
        """Beside the stream, which does not wait for PostgreSQL."""
        if self._asked is None:
            self._unanswered = 0
            self._asked = asyncio.create_task(self._lookup.last_sync(), name="cache-last-sync")
            return
        self._unanswered += 1
        # One look may come before an answer that is there already.
        if self._unanswered > 1:
            seconds = self._unanswered * _SLOW_SECONDS
            self._health.set("postgres", f"PostgreSQL has not answered for {seconds:.0f} s")

    async def _copy_last_sync(self) -> None:
        if self._asked is None or not self._asked.done():
            return
        task, self._asked = self._asked, None
        try:
            last = task.result()
        except (psycopg.OperationalError, UpstreamUnavailable) as error:
            self._health.set("postgres", f"PostgreSQL does not answer ({first_line(error)})")
            await self._lookup.close()
            return
        self._health.set("postgres", None)
        if last is not None:
            key = self._writer.keys.last_sync
            await self._retry.call(lambda: self._writer.set(key, last.encode()))

    async def close(self) -> None:
        """End what is asked for."""
        if self._asked is not None:
            # Cancelled while it connects, psycopg would leave the connection open.
            await asyncio.wait({self._asked}, timeout=_END_SECONDS)
            await end(self._asked)
            self._asked = None
        await self._lookup.close()
