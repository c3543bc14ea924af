"""Lives, one after the other: each has its socket, its publisher and its memory of the stream."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

import structlog
from nats.aio.client import Client

from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.errors import ConfigurationError, SsmdError
from ssmd_common.rights import RIGHTS
from ssmd_common.runtime import Runtime
from ssmd_common.streams import MARKET_DATA_STREAM
from ssmd_connector import metrics
from ssmd_connector.capture import Capture, MarketOutgoing
from ssmd_connector.life import REMEMBERED, Life
from ssmd_connector.names import SecmasterNames
from ssmd_connector.outbox import Outbox
from ssmd_connector.seen import Seen
from ssmd_connector.settings import ConnectorSettings
from ssmd_kalshi.budget import Budget
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.marketdata import TICKER, TRADE
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.signing import Signer
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_stream.administration import ensure, require_server
from ssmd_stream.errors import PublishingEnded, ReaderBroken, StreamGap, StreamUnavailable
from ssmd_stream.market import streams
from ssmd_stream.publish.options import PublisherOptions
from ssmd_stream.publish.publisher import Publisher
from ssmd_stream.stream import Stream

_PAUSE_SECONDS: Final = 1.0
_ENDS: Final = (PublishingEnded, StreamUnavailable, StreamGap, ReaderBroken)
"""What ends a life and not the process."""

log = structlog.get_logger(__name__)


class Connector:
    """The leader's work."""

    def __init__(
        self, runtime: Runtime, settings: ConnectorSettings, client: Client, signer: Signer
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._client = client
        self._signer = signer
        self._stream = Stream(client, MARKET_DATA_STREAM, publisher="connector")
        self._names = SecmasterNames(settings)

    async def run(self) -> None:
        """Publish until the service stops.

        Raises:
            SsmdError: what an operator has to mend.
        """
        require_server(self._client, "connector")
        await self._names.load()
        following = self._runtime.spawn("names", self._names.follow())
        try:
            while not self._runtime.stop.is_set():
                try:
                    await self._live()
                except* _ENDS as group:
                    log.warning("publishing begins anew", reason=str(group.exceptions[0]))
                    await self._runtime.stopped_within(_PAUSE_SECONDS)
                except* SsmdError as group:
                    raise group.exceptions[0] from None
        finally:
            following.cancel()

    async def _live(self) -> None:
        settings, health = self._settings, self._runtime.health
        wanted = streams.market_data(
            max_age_seconds=settings.connector_stream_max_age_seconds,
            max_bytes=settings.connector_stream_max_bytes,
            replicas=settings.connector_stream_replicas,
        )
        size = "CONNECTOR_STREAM_MAX_BYTES"
        await ensure(self._stream, wanted, service="connector", size=size)
        seen = Seen()
        await seen.read(self._stream, datetime.now(UTC) - REMEMBERED)
        async with AsyncExitStack() as stack:
            rest = await stack.enter_async_context(
                KalshiRest(
                    settings.kalshi_base_url.get_secret_value(),
                    budget=Budget(settings.kalshi_read_budget),
                    signer=self._signer,
                    stop=self._runtime.stop,
                )
            )
            socket = await stack.enter_async_context(
                KalshiSocket(
                    settings.kalshi_ws_url.get_secret_value(),
                    channels=[Selection(TRADE), Selection(TICKER)],
                    signer=self._signer,
                    policy=SocketPolicy(silence_seconds=settings.connector_silence_seconds),
                )
            )
            health.set("exchange", "the exchange's WebSocket is not subscribed yet")
            life = Life(
                socket,
                rest,
                Capture(
                    settings.connector_name,
                    self._names,
                    multivariate=settings.connector_multivariate,
                ),
                Outbox(settings.connector_outbox_messages, settings.connector_outbox_bytes),
                await self._publisher(),
                seen,
                count_seconds=settings.connector_count_seconds,
                health=health,
            )
            await life.run(self._runtime.stop)

    async def _publisher(self) -> Publisher[MarketOutgoing]:
        settings = self._settings
        info = await self._stream.info()
        return Publisher(
            self._stream,
            NatsAccess.of(settings),
            self._runtime.health,
            PublisherOptions(
                window_messages=settings.connector_window_messages,
                window_bytes=settings.connector_window_bytes,
                ack_seconds=settings.connector_ack_seconds,
                outage_budget_seconds=settings.connector_outage_budget_seconds,
            ),
            metrics.PUBLISHER,
            created=info.created,
            last_sequence=info.last_sequence,
            name="ssmd-connector-publish",
            rights=RIGHTS["connector"].nats,
            replace=_too_large,
        )


async def _too_large(message: MarketOutgoing, limit: int) -> MarketOutgoing:
    raise ConfigurationError(
        f"NATS takes messages of {limit} bytes, and one of {len(message.payload)} bytes came "
        f"({message.subject}): raise max_payload at the server"
    )


async def without_key(runtime: Runtime) -> None:
    """Nothing can be done; say so until the service stops."""
    reason = (
        "no exchange key is configured, so no market data comes: set KALSHI_API_KEY and "
        "KALSHI_PRIVATE_KEY_PATH"
    )
    log.warning(reason)
    runtime.health.degrade("exchange_key", reason)
    while not await runtime.stopped_within(30.0):
        runtime.health.progress()


async def turned_off(runtime: Runtime) -> None:
    """Nothing is wanted: ready, until the service stops."""
    log.info("the connector is turned off", setting="CONNECTOR_ENABLED")
    runtime.health.set("enabled", None)
    while not await runtime.stopped_within(30.0):
        runtime.health.progress()
