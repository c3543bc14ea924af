"""NATS connections: named, reconnecting for ever, with errors that reach the log."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client

from ssmd_common.connections.nats_access import NatsAccess, NatsServer
from ssmd_common.connections.nats_rights import NatsClient, Sentences
from ssmd_common.connections.retry import first_line, service_health, unless_stopped
from ssmd_common.errors import ConfigurationError, UpstreamUnavailable
from ssmd_common.rights import RIGHTS, NatsRights
from ssmd_common.settings import NatsSettings
from ssmd_common.tasks import end, raise_if_cancelled

_CLOSE_SECONDS: Final = 3.0

log = structlog.get_logger(__name__)


async def connect(
    settings: NatsSettings,
    application: str,
    *,
    budget_seconds: float,
    service: str | None = None,
    consumer: str = "ssmd_rights",
    tell: Callable[[str | None], None] | None = None,
    **more: Any,
) -> NatsClient:
    """A connected client; once connected it reconnects for ever by itself, to any node it knows.

    With `service` it is found out first whether the user may do what that service needs, with
    `consumer` for its consumer's name. A right that is missing later is told through `tell`, by
    default as the condition `rights` of the service's health.

    Raises:
        UpstreamUnavailable: no answer within the budget.
        ConfigurationError: the server refuses the credentials or a certificate, or ours refuses
            the server's; the user lacks a right.
        StopRequested: the service was asked to stop meanwhile.
    """
    access = NatsAccess.of(settings)
    rights = RIGHTS[service].nats if service is not None else None
    sentences = Sentences(access.who, access.inbox_prefix, rights)

    def made() -> NatsClient:
        return NatsClient(sentences, rights, consumer, tell or _tell_health)

    async def usable() -> NatsClient:
        client = await _connected(access, application, budget_seconds, more, made)
        try:
            await _require(client, rights)
        except BaseException:
            await close(client)
            raise
        return client

    return await unless_stopped(usable())


def _tell_health(reason: str | None) -> None:
    health = service_health.get()
    if health is not None and reason is not None:
        health.set("rights", reason)
    elif health is not None:
        health.conditions.pop("rights", None)


async def _require(client: NatsClient, rights: NatsRights | None) -> None:
    if rights is None:
        return
    try:
        # What is needed now and then shows when it is needed.
        refused, no_inbox = await client.lacking([each for each in rights.publish if not each.only])
    except (nats.errors.Error, OSError) as error:
        # It went away again. Then that, too, shows when it is needed.
        log.warning("rights at nats are not known", error=first_line(error))
        return
    if refused or no_inbox:
        raise ConfigurationError(client.may_not(refused, subscribe=no_inbox))


async def _connected(
    access: NatsAccess,
    application: str,
    budget_seconds: float,
    more: dict[str, Any],
    made: Callable[[], NatsClient],
) -> NatsClient:
    client = made()
    last_error: list[str] = ["no answer"]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + budget_seconds

    async def on_error(error: Exception) -> None:
        # The client, while it connects, would try again for ever.
        raise_if_cancelled()
        if client.note(str(error)):
            return
        # While it cannot connect, the client tries several times a second.
        if first_line(error) != last_error[-1] or client.is_connected:
            log.warning("nats error", error=first_line(error))
        last_error[-1] = first_line(error)

    async def on_disconnect() -> None:
        client.lose_requests()
        # An orderly close calls this too.
        if not client.is_closed:
            log.warning("nats disconnected")

    async def on_reconnect() -> None:
        last_error[-1] = ""
        log.info("nats reconnected")

    options: dict[str, Any] = {
        **access.options(),
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
            if refusal := _refusal(error):
                raise ConfigurationError(refusal) from error
            if loop.time() >= deadline:
                raise UpstreamUnavailable(
                    f"NATS did not answer within {budget_seconds:g} s ({last_error[-1]}): "
                    "check NATS_URL and that NATS runs with JetStream"
                ) from error
            # It went away while it was greeting us.
            client = made()
            await asyncio.sleep(0.25)
        else:
            await _check_encryption(client, access)
            client.options["allow_reconnect"] = True
            return client


def nodes(client: Client, access: NatsAccess) -> list[NatsServer]:
    """The nodes that the client knows of, the one that it is connected to first."""
    urls = [client.connected_url, *client.servers, *client.discovered_servers]
    found = [access.node(url.hostname or "localhost", url.port or 4222) for url in urls if url]
    return list(dict.fromkeys(found))


def _refusal(error: Exception) -> str | None:
    """The sentence for what no second try mends."""
    text = str(error).lower()
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of NATS is not trusted ({error.verify_message}): check NATS_URL and "
            "NATS_CA_PATH"
        )
    if "alert" in text and ("certificate" in text or "unknown ca" in text):
        return (
            f"NATS refuses the connection, it wants a certificate of ours ({first_line(error)}): "
            "check NATS_CERT_PATH and NATS_KEY_PATH"
        )
    if "authorization" in text or "authentication" in text:
        return (
            f"NATS refuses the connection ({first_line(error)}): check the credentials in "
            "NATS_URL, NATS_USER, NATS_TOKEN, NATS_CREDS_PATH or NATS_NKEY_PATH"
        )
    return None


async def _check_encryption(client: Client, access: NatsAccess) -> None:
    """nats-py encrypts where the server demands it, whatever the URL says.

    Raises:
        ConfigurationError: `tls://` was asked for and is not there.
    """
    wanted = any(server.tls for server in access.servers)
    if wanted and not client._server_info.get("tls_required"):  # noqa: SLF001
        await close(client)
        raise ConfigurationError(
            "NATS_URL says tls:// and that server does not speak TLS: configure TLS there, or "
            "say nats://"
        )


async def close(client: Client) -> None:
    """Close it, also while its server is away: that is no reason for a service to end badly.

    Where the other side does not take part in the end, as after a handshake that it refused, the
    connection is dropped.
    """
    closing = asyncio.ensure_future(client.close())
    await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
    if not closing.done():
        await end(closing)
    # uvloop raises RuntimeError where a transport that the server closed is written to.
    with contextlib.suppress(nats.errors.Error, OSError, RuntimeError, asyncio.CancelledError):
        closing.result()
