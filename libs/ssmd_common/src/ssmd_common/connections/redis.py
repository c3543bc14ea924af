"""Redis and Valkey connections: one server, or the master that Sentinels name."""

from typing import Any, Final

import redis.asyncio as aioredis
import redis.exceptions
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from ssmd_common.connections import redis_rights
from ssmd_common.connections.redis_place import SENTINEL_SCHEMES, SentinelPlace
from ssmd_common.connections.retry import within_budget
from ssmd_common.errors import ConfigurationError
from ssmd_common.rights import RIGHTS
from ssmd_common.settings import RedisSettings

_MEND: Final = "check REDIS_URL and that Redis or Valkey runs"


class _OfSentinels(aioredis.Redis):
    """A client of a master that closes its connections to the Sentinels too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        pool = self.connection_pool
        assert isinstance(pool, SentinelConnectionPool)
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def client(
    settings: RedisSettings, application: str, *, timeout_seconds: float = 5.0
) -> aioredis.Redis:
    """A client that has not connected yet; replies are bytes.

    With Sentinels it asks them for the master before each new connection, and leaves a master that
    was demoted.
    """
    url = settings.redis_url.get_secret_value()
    options: dict[str, Any] = {
        "client_name": application,
        "socket_connect_timeout": timeout_seconds,
        "socket_timeout": timeout_seconds,
        "socket_keepalive": True,
        "health_check_interval": 15,
    }
    if not url.startswith(SENTINEL_SCHEMES):
        return aioredis.Redis.from_url(url, **options)
    place = SentinelPlace.parse(url)
    secret = settings.redis_sentinel_password
    own = {
        "socket_connect_timeout": timeout_seconds,
        "socket_timeout": timeout_seconds,
        "username": settings.redis_sentinel_user,
        "password": None if secret is None else secret.get_secret_value(),
        "ssl": place.tls,
    }
    sentinel = Sentinel(list(place.sentinels), sentinel_kwargs=own)  # type: ignore[no-untyped-call]
    made: aioredis.Redis = sentinel.master_for(
        place.master,
        redis_class=_OfSentinels,
        db=place.database,
        username=place.user,
        password=place.password,
        ssl=place.tls,
        **options,
    )
    return made


async def connect(
    settings: RedisSettings, application: str, *, budget_seconds: float, service: str | None = None
) -> aioredis.Redis:
    """A client that has answered a PING.

    With `service` it is found out whether the user may do what that service needs.

    Raises:
        UpstreamUnavailable: no answer within the budget.
        ConfigurationError: the server refuses the password, or is a node of a Redis Cluster; the
            user lacks a right.
    """
    made = client(settings, application)

    async def attempt() -> aioredis.Redis:
        try:
            await made.ping()
            await _refuse_cluster(made)
            await _require(made, service, settings.redis_key_prefix)
        except redis.exceptions.AuthenticationError as error:
            raise ConfigurationError(
                "Redis refuses the password: check the one in REDIS_URL"
            ) from error
        except redis.exceptions.ResponseError as error:
            if not redis_rights.is_denial(error):
                raise
            raise ConfigurationError(redis_rights.denial(error)) from error
        return made

    try:
        return await within_budget(
            "Redis",
            _MEND,
            attempt,
            budget_seconds=budget_seconds,
            retry_on=(redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError),
        )
    except BaseException:
        await made.aclose()
        raise


async def _require(made: aioredis.Redis, service: str | None, prefix: str) -> None:
    rights = RIGHTS[service].redis if service is not None else None
    if rights is None:
        return
    if (lack := await redis_rights.missing(made, rights, prefix)) is not None:
        raise ConfigurationError(lack)


async def _refuse_cluster(made: aioredis.Redis) -> None:
    try:
        found = await made.info("cluster")
    except redis.exceptions.NoPermissionError:
        # A role that may not ask; a cluster shows itself by its first MOVED.
        return
    if int(found.get("cluster_enabled", 0)):
        raise ConfigurationError(
            "REDIS_URL names a node of a Redis Cluster, which is not supported: a change is "
            "written in one step over several keys, and a cluster keeps them on different nodes. "
            "Use one server, or a master with replicas and Sentinels (redis+sentinel://)"
        )


class MasterWatch:
    """Notices that new connections of a client lead to another server than those before.

    After a failover the Sentinels name another master, and a name or a virtual address leads to
    another server, while old connections still reach the old one, which nobody else writes to.
    """

    def __init__(self, made: aioredis.Redis) -> None:
        self._made = made
        self._known: object = None

    async def follow(self) -> bool:
        """Whether they do, or the server was restarted: then all the old ones are dropped.

        Raises:
            redis.exceptions.ConnectionError: it cannot be told: no server answers, or the Sentinels
                have no master to name, as during a failover.
        """
        # Kept from look to look: one connection that was lost and made anew, or a pool that was
        # told of the new master meanwhile, says nothing of the others.
        before = self._known or await self._reached()
        now = await self._led_to()
        moved = before not in (None, now)
        if moved:
            await leave(self._made)
        self._known = now
        return moved

    async def _reached(self) -> object:
        pool = self._made.connection_pool
        if isinstance(pool, SentinelConnectionPool):
            return pool.master_address
        return await _run_id(self._made)

    async def _led_to(self) -> object:
        pool = self._made.connection_pool
        if isinstance(pool, SentinelConnectionPool):
            return await pool.get_master_address()  # type: ignore[no-untyped-call]
        fresh = aioredis.Redis(
            connection_pool=aioredis.ConnectionPool(
                pool.connection_class, max_connections=1, **pool.connection_kwargs
            )
        )
        try:
            return await _run_id(fresh)
        finally:
            await fresh.aclose(close_connection_pool=True)


async def _run_id(made: aioredis.Redis) -> object:
    return (await made.info("server")).get("run_id")


async def leave(made: aioredis.Redis) -> None:
    """Drop all its connections: the next command makes one to whoever is the master now."""
    await made.connection_pool.disconnect(inuse_connections=True)
