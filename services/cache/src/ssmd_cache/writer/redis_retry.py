"""Waiting for Redis: what it refuses or does not answer is tried again until the service stops."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import redis.exceptions
import structlog

from ssmd_common.connections.redis_rights import denial, is_denial
from ssmd_common.connections.retry import first_line
from ssmd_common.health import Health

log = structlog.get_logger(__name__)

T = TypeVar("T")

_LONGEST_PAUSE_SECONDS: Final = 1.0


class Stopped(Exception):
    """The service was asked to stop while it waited."""


class RedisRetry:
    """Calls that survive an outage; the health says what is being waited for."""

    def __init__(self, health: Health, stop: asyncio.Event) -> None:
        self.health = health
        self._stop = stop

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first attempt that Redis takes.

        Raises:
            Stopped: the stop came first.
        """
        pause = 0.05
        while True:
            try:
                result = await attempt()
            except (redis.exceptions.RedisError, OSError) as error:
                reason = why(error)
                if reason is None:
                    raise
                if self.health.conditions.get("redis") != reason:
                    log.warning("redis does not take writes", reason=reason)
                self.health.set("redis", reason)
                self.health.failed("redis", reason)
                # Waiting for a server is progress: the loop is alive.
                self.health.progress()
                await self._sleep(random.uniform(0.02, pause))  # noqa: S311
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                if self.health.conditions.get("redis"):
                    log.info("redis takes writes again")
                self.health.set("redis", None)
                return result

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise Stopped


def why(error: Exception) -> str | None:
    """The sentence for an error that passes with time; None for one that does not."""
    text = first_line(error)
    if isinstance(error, redis.exceptions.OutOfMemoryError) or "OOM" in text:
        return (
            "Redis is full (maxmemory reached), so nothing more is written: "
            "raise maxmemory or make room"
        )
    if is_denial(error):
        return denial(error)
    if isinstance(error, redis.exceptions.AuthenticationError):
        return f"Redis refuses this client ({text}): check the user and password in REDIS_URL"
    passing = (
        redis.exceptions.ConnectionError,
        redis.exceptions.TimeoutError,
        redis.exceptions.BusyLoadingError,
        redis.exceptions.ReadOnlyError,
        redis.exceptions.TryAgainError,
        OSError,
    )
    words = ("LOADING", "READONLY", "MASTERDOWN", "BUSY", "MISCONF", "NOREPLICAS")
    if isinstance(error, passing) or text.startswith(words):
        return f"Redis does not answer ({text}): check REDIS_URL and that Redis or Valkey runs"
    return None
