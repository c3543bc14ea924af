"""Redis and Valkey connections."""

from typing import Final

import redis.asyncio as aioredis
import redis.exceptions
from pydantic import SecretStr

from ssmd_common.connections.retry import within_budget
from ssmd_common.errors import ConfigurationError

_MEND: Final = "check REDIS_URL and that Redis or Valkey runs"


def client(url: SecretStr, application: str, *, timeout_seconds: float = 5.0) -> aioredis.Redis:
    """A client that has not connected yet; replies are bytes."""
    return aioredis.Redis.from_url(
        url.get_secret_value(),
        client_name=application,
        socket_connect_timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_keepalive=True,
        health_check_interval=15,
    )


async def connect(url: SecretStr, application: str, *, budget_seconds: float) -> aioredis.Redis:
    """A client that has answered a PING.

    Raises:
        UpstreamUnavailable: no answer within the budget.
        ConfigurationError: the server refuses the password.
    """
    made = client(url, application)

    async def attempt() -> aioredis.Redis:
        try:
            await made.ping()
        except redis.exceptions.AuthenticationError as error:
            raise ConfigurationError(
                "Redis refuses the password: check the one in REDIS_URL"
            ) from error
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
