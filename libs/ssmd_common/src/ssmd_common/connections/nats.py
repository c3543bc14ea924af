"""NATS connections: named, reconnecting for ever, with errors that reach the log."""

import asyncio
import contextlib
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from pydantic import SecretStr

from ssmd_common.connections.retry import first_line, unless_stopped
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable

log = structlog.get_logger(__name__)


async def connect(
    url: SecretStr, application: str, *, budget_seconds: float, **more: Any
) -> Client:
    """A connected client; once connected it reconnects for ever by itself.

    Raises:
        UpstreamUnavailable: no answer within the budget.
        ConfigurationError: the server refuses the credentials.
        StopRequested: the service was asked to stop meanwhile.
    """
    return await unless_stopped(_connected(url, application, budget_seconds, more))


async def _connected(
    url: SecretStr, application: str, budget_seconds: float, more: dict[str, Any]
) -> Client:
    client = Client()
    last_error: list[str] = ["no answer"]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + budget_seconds

    async def on_error(error: Exception) -> None:
        # While it cannot connect, the client tries several times a second.
        if first_line(error) != last_error[-1] or client.is_connected:
            log.warning("nats error", error=first_line(error))
        last_error[-1] = first_line(error)

    async def on_disconnect() -> None:
        # An orderly close calls this too.
        if not client.is_closed:
            log.warning("nats disconnected")

    async def on_reconnect() -> None:
        last_error[-1] = ""
        log.info("nats reconnected")

    options: dict[str, Any] = {
        "servers": url.get_secret_value(),
        "name": application,
        # By the clock, so long enough for a process that seldom gets its turn.
        "connect_timeout": 10,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.25,
        "ping_interval": 5,
        "max_outstanding_pings": 2,
        "error_cb": on_error,
        "disconnected_cb": on_disconnect,
        "reconnected_cb": on_reconnect,
    }
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                # A server that is not there is tried again by the client; one that refuses us not.
                await client.connect(allow_reconnect=False, **{**options, **more})
        except asyncio.CancelledError:
            await close(client)
            raise
        except (nats.errors.Error, OSError) as error:
            await close(client)
            if _refuses(error):
                raise ConfigurationError(
                    f"NATS refuses the connection ({first_line(error)}): "
                    "check the credentials in NATS_URL"
                ) from error
            if loop.time() >= deadline:
                raise UpstreamUnavailable(
                    f"NATS did not answer within {budget_seconds:g} s ({last_error[-1]}): "
                    "check NATS_URL and that NATS runs with JetStream"
                ) from error
            # It went away while it was greeting us.
            client = Client()
            await asyncio.sleep(0.25)
        else:
            client.options["allow_reconnect"] = True
            return client


def _refuses(error: Exception) -> bool:
    text = str(error).lower()
    return "authorization" in text or "authentication" in text


async def close(client: Client) -> None:
    """Close it, also while its server is away: that is no reason for a service to end badly."""
    # uvloop raises RuntimeError where a transport that the server closed is written to.
    with contextlib.suppress(nats.errors.Error, OSError, RuntimeError):
        await client.close()
