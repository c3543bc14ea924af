"""Redis as one service finds it: the server, the user's rights, what it does when it is full."""

import contextlib
from typing import Any, Final

import redis.asyncio as aioredis
import redis.exceptions

from ssmd_cli.finding import Finding, Unreached
from ssmd_common.connections import redis as connections
from ssmd_common.connections import redis_rights
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import SsmdError
from ssmd_common.rights import RedisRights
from ssmd_common.settings import RedisSettings

BUDGET_SECONDS: Final = 3.0
_OLDEST: Final = 7


async def examine(service: str, settings: RedisSettings, rights: RedisRights) -> list[Finding]:
    """Everything.

    Raises:
        Unreached: no connection was made.
    """
    try:
        client = await connections.connect(settings, "ssmd-doctor", budget_seconds=BUDGET_SECONDS)
    except SsmdError as error:
        raise Unreached(Finding.failed("Redis", error, "check REDIS_URL")) from error
    async with contextlib.aclosing(client):
        try:
            found = [await _rights(service, client, rights, settings.redis_key_prefix)]
            if "info" in rights.commands:
                found += await _server(client)
            return found
        except (redis.exceptions.RedisError, OSError) as error:
            reason = f"it does not answer ({first_line(error)})"
            return [Finding("Redis", False, reason, "look at its log")]


async def _rights(
    service: str, client: aioredis.Redis, rights: RedisRights, prefix: str
) -> Finding:
    what = f"{service} rights at Redis"
    if (lack := await redis_rights.missing(client, rights, prefix)) is not None:
        return Finding.failed(what, lack)
    user = redis_rights.user_of(client)
    return Finding(what, True, f"the user {user} has them: {len(rights.commands)} commands")


async def _server(client: aioredis.Redis) -> list[Finding]:
    try:
        info: dict[str, Any] = await client.info()
    except redis.exceptions.ResponseError as error:
        if not redis_rights.is_denial(error):
            raise
        # It is among the rights, and told there.
        return []
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    policy, limit = info.get("maxmemory_policy", "noeviction"), info.get("maxmemory", 0)
    return [
        Finding.of(
            "Redis", int(version.partition(".")[0]) >= _OLDEST, f"{name} {version}",
            f"use Redis {_OLDEST} or newer, or Valkey",
        ),
        Finding.of(
            "maxmemory-policy", policy == "noeviction" or not limit,
            f"{policy}, maxmemory {limit or 'without limit'}",
            "set maxmemory-policy to noeviction: an evicted key is a hole that no reader sees",
        ),
    ]  # fmt: skip
