"""NATS connections: named, reconnecting for ever, with errors that reach the log."""

from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client
from pydantic import SecretStr

from ssmd_common.connections.retry import first_line, within_budget

log = structlog.get_logger(__name__)

_MEND: Final = "check NATS_URL and that NATS runs with JetStream"


async def connect(
    url: SecretStr, application: str, *, budget_seconds: float, **more: Any
) -> Client:
    """A connected client; once connected it reconnects for ever by itself.

    Raises:
        UpstreamUnavailable: no answer within the budget.
    """

    async def on_error(error: Exception) -> None:
        log.warning("nats error", error=first_line(error))

    async def on_disconnect() -> None:
        log.warning("nats disconnected")

    async def on_reconnect() -> None:
        log.info("nats reconnected")

    async def attempt() -> Client:
        client = Client()
        await client.connect(
            **{
                "servers": url.get_secret_value(),
                "name": application,
                "connect_timeout": 3,
                "allow_reconnect": False,
                "max_reconnect_attempts": -1,
                "reconnect_time_wait": 0.25,
                "ping_interval": 5,
                "max_outstanding_pings": 2,
                "error_cb": on_error,
                "disconnected_cb": on_disconnect,
                "reconnected_cb": on_reconnect,
                **more,
            }
        )
        # Set before connecting, this would retry the first connection without end: the budget
        # for that one is ours to keep.
        client.options["allow_reconnect"] = True
        return client

    return await within_budget(
        "NATS",
        _MEND,
        attempt,
        budget_seconds=budget_seconds,
        retry_on=(nats.errors.Error, OSError, TimeoutError),
    )
