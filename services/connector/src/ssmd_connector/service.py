"""The leader's work: publishers' lives, one after the other, of MARKET_DATA and of books."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from nats.aio.client import Client

from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.errors import SsmdError
from ssmd_common.rights import RIGHTS
from ssmd_common.runtime import Runtime
from ssmd_common.streams import MARKET_DATA_STREAM, books_stream
from ssmd_connector import metrics
from ssmd_connector.bookreceiver import BookReceiver
from ssmd_connector.books import BooksLife
from ssmd_connector.life import Life
from ssmd_connector.outbox import Outbox, Room
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.oversized import cut
from ssmd_connector.pipe import Pipe
from ssmd_connector.position import Position
from ssmd_connector.receiver import Receiver
from ssmd_connector.scopefile import ScopeFile
from ssmd_connector.secmaster import LiveView
from ssmd_connector.seen import Seen
from ssmd_connector.settings import ConnectorSettings
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.sequences import AckNumbers
from ssmd_kalshi.signing import Signer
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_stream.administration import ensure, require_server
from ssmd_stream.errors import PublishingEnded, ReaderBroken, StreamGap, StreamUnavailable
from ssmd_stream.market import streams, subjects
from ssmd_stream.publish.options import PublisherMetrics, PublisherOptions
from ssmd_stream.publish.publisher import Publisher
from ssmd_stream.stream import Stream

_PAUSE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 5.0
_ENDS: Final = (PublishingEnded, StreamUnavailable, StreamGap, ReaderBroken)
"""What ends a life and not the process."""
_SIZE: Final = "CONNECTOR_STREAM_MAX_BYTES"

log = structlog.get_logger(__name__)


class Connector:
    """`receiver` is there where this process has the trades and quotes, in the first shard; `books`
    hears this shard's books."""

    def __init__(
        self,
        runtime: Runtime,
        settings: ConnectorSettings,
        client: Client,
        rest: KalshiRest,
        receiver: Receiver | None,
        books: BookReceiver,
        scope: ScopeFile,
        position: Position,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._client = client
        self._rest = rest
        self._receiver = receiver
        self._books = books
        self._scope = scope
        self._position = position
        self._room = Room(settings.connector_outbox_messages, settings.connector_outbox_bytes)
        self._left: list[MarketOutgoing] = []
        self._seen = Seen()

    async def run(self) -> None:
        """Publish until the service stops.

        Raises:
            ExceptionGroup: of SsmdError, what an operator has to mend.
        """
        require_server(self._client, "connector")
        async with asyncio.TaskGroup() as tasks:
            if self._receiver is not None:
                tasks.create_task(self._lives(self._receiver), name="market data")
            tasks.create_task(self._book_lives(), name="books")

    # --- trades and quotes ------------------------------------------------------------------------

    async def _lives(self, receiver: Receiver) -> None:
        while not self._runtime.stop.is_set():
            await self._one(self._live(receiver), "publishing begins anew")

    async def _live(self, receiver: Receiver) -> None:
        settings = self._settings
        stream = Stream(self._client, MARKET_DATA_STREAM, publisher="connector")
        wanted = streams.market_data(
            max_age_seconds=settings.connector_stream_max_age_seconds,
            max_bytes=settings.connector_stream_max_bytes,
            replicas=settings.connector_stream_replicas,
        )
        await ensure(stream, wanted, service="connector", size=_SIZE)
        life = Life(
            receiver,
            self._rest,
            stream,
            Outbox(self._room),
            await self._publisher(
                stream, metrics.PUBLISHER, "nats", subjects.unreadable(settings.connector_name)
            ),
            self._seen,
            self._runtime.health,
            left=self._left,
            count_seconds=settings.connector_count_seconds,
        )
        with self._telling(stream, life.pipe):
            try:
                await life.run(self._runtime.stop)
            finally:
                self._left = life.left()

    # --- books ------------------------------------------------------------------------------------

    async def _book_lives(self) -> None:
        while not self._runtime.stop.is_set():
            if not self._scope.scope.books:
                self._runtime.health.progress()
                await self._runtime.stopped_within(_LOOK_SECONDS)
                continue
            await self._one(self._live_books(), "publishing books begins anew")

    async def _live_books(self) -> None:
        settings, shard = self._settings, self._settings.shard
        stream = Stream(self._client, books_stream(shard), publisher="connector")
        wanted = streams.books(
            shard,
            max_age_seconds=settings.connector_stream_max_age_seconds,
            max_bytes=settings.connector_stream_max_bytes,
            replicas=settings.connector_stream_replicas,
        )
        await ensure(stream, wanted, service="connector", size=_SIZE)
        life = BooksLife(
            self._books,
            stream,
            Outbox(self._room),
            await self._publisher(
                stream,
                metrics.BOOKS_PUBLISHER,
                "nats_books",
                subjects.books_unreadable(shard, settings.connector_name),
            ),
            self._runtime.health,
            count_seconds=settings.connector_count_seconds,
        )
        with self._telling(stream, life.pipe):
            await life.run(self._runtime.stop)

    @contextmanager
    def _telling(self, stream: Stream, pipe: Pipe) -> Iterator[None]:
        """The position tells of it."""
        self._position.pipes[stream.name] = pipe
        try:
            yield
        finally:
            del self._position.pipes[stream.name]

    async def _one(self, life: Awaitable[None], anew: str) -> None:
        """A life to its end; `anew` is said where another one is to follow."""
        try:
            await life
        except* _ENDS as group:
            log.warning(anew, reason=str(_first(group)))
            await self._runtime.stopped_within(_PAUSE_SECONDS)
        except* SsmdError as group:
            raise _first(group) from None

    async def _publisher(
        self, stream: Stream, counted: PublisherMetrics, condition: str, unreadables: str
    ) -> Publisher[MarketOutgoing]:
        settings = self._settings
        info = await stream.info()

        async def cut_off(message: MarketOutgoing, limit: int) -> MarketOutgoing:
            log.warning(
                "a message is larger than NATS takes: its beginning is published as unreadable; "
                "raise max_payload at the server",
                subject=message.subject,
                bytes=len(message.payload),
                limit=limit,
            )
            return cut(message, limit, unreadables)

        return Publisher(
            stream,
            NatsAccess.of(settings),
            self._runtime.health,
            PublisherOptions(
                window_messages=settings.connector_window_messages,
                window_bytes=settings.connector_window_bytes,
                ack_seconds=settings.connector_ack_seconds,
                outage_budget_seconds=settings.connector_outage_budget_seconds,
                condition=condition,
            ),
            counted,
            created=info.created,
            last_sequence=info.last_sequence,
            name="ssmd-connector-publish",
            rights=RIGHTS["connector"].nats,
            replace=cut_off,
        )


def open_socket(
    settings: ConnectorSettings, signer: Signer, channels: list[Selection], acks: AckNumbers
) -> KalshiSocket:
    """A connection to the exchange, not yet opened."""
    return KalshiSocket(
        settings.kalshi_ws_url.get_secret_value(),
        channels=channels,
        signer=signer,
        policy=SocketPolicy(silence_seconds=settings.connector_silence_seconds),
        acks=acks,
    )


async def check_scope(runtime: Runtime, scope: ScopeFile, view: LiveView) -> None:
    """Say which names of the scope the secmaster does not have, again and again."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if view.is_ready:
            unknown = scope.scope.unknown(*view.names())
            runtime.health.degrade("scope", "; ".join(unknown[:5]) or None)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def without_key(runtime: Runtime) -> None:
    """Nothing can be done; say so until the service stops."""
    reason = (
        "no exchange key is configured, so no market data comes: set KALSHI_API_KEY and "
        "KALSHI_PRIVATE_KEY_PATH"
    )
    log.warning(reason)
    runtime.health.degrade("exchange_key", reason)
    runtime.health.set("enabled", None)
    while not await runtime.stopped_within(30.0):
        runtime.health.progress()


async def turned_off(runtime: Runtime) -> None:
    """Nothing is wanted: ready, until the service stops."""
    log.info("the connector is turned off", setting="CONNECTOR_ENABLED")
    runtime.health.set("enabled", None)
    while not await runtime.stopped_within(30.0):
        runtime.health.progress()
