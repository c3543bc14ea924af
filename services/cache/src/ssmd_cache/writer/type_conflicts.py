"""Keys with our names that hold someone else's type: named, left alone, and watched."""

import redis.asyncio as aioredis
import structlog

from ssmd_cache.errors import KeyTypeConflict
from ssmd_cache.writer.names import printable, raw_of
from ssmd_cache.writer.redis_retry import RedisRetry
from ssmd_common.health import Health

log = structlog.get_logger(__name__)


class TypeConflicts:
    """While any remains the service is not ready, and says which."""

    def __init__(self, client: aioredis.Redis, health: Health, retry: RedisRetry) -> None:
        self._client = client
        self._health = health
        self._retry = retry
        self.keys: dict[str, bytes] = {}
        """Each key with the type it was found with."""

    def forget(self) -> None:
        """A warm-up finds them again, if they are still there."""
        self.keys = {}
        self._health.set("foreign", None)

    async def add(self, keys: frozenset[str]) -> None:
        """These were found."""
        new = keys - self.keys.keys()
        if not new:
            return
        for key in new:
            self.keys[key] = await self._type(key)
        reason = printable(str(KeyTypeConflict(sorted(self.keys))))
        log.error(
            "keys with our names hold another type",
            keys=[printable(key) for key in sorted(new)[:20]],
            count=len(new),
        )
        self._health.set("foreign", reason)
        self._health.failed("foreign_keys", reason)

    async def remain(self) -> bool:
        """Whether all are still as they were found."""
        for key, found in self.keys.items():
            if await self._type(key) != found:
                return False
        return True

    async def _type(self, key: str) -> bytes:
        async def ask() -> bytes:
            found = await self._client.type(raw_of(key))
            return found if isinstance(found, bytes) else found.encode()

        return await self._retry.call(ask)
