"""The publisher of SECMASTER_CDC: `ssmd_stream`'s, for changes.

Every message once, in order, acknowledged, or the session ends: that is `ssmd_stream.publish`, and
docs/streams.md has its guarantees. What is added here: how cdc's settings and metrics go into it,
and that no change is lost which the stream cannot carry. Its bytes are stored as dead letters
first; then a marker takes its place, with its identity.
"""

from collections.abc import Sequence
from typing import Final

from ssmd_cdc import metrics
from ssmd_cdc.encode.envelope import Outgoing
from ssmd_cdc.publish.deadletters import DeadLetters
from ssmd_cdc.settings import CdcSettings
from ssmd_common.connections.nats_access import NatsAccess
from ssmd_common.health import Health
from ssmd_common.rights import RIGHTS
from ssmd_stream.change import Position
from ssmd_stream.publish.options import PublisherMetrics, PublisherOptions
from ssmd_stream.publish.publisher import Publisher
from ssmd_stream.stream import Stream

_METRICS: Final = PublisherMetrics(
    metrics.MESSAGES,
    metrics.IN_FLIGHT,
    metrics.IN_FLIGHT_BYTES,
    metrics.PUBLISH_SECONDS,
    metrics.NOT_STORING,
)


class StreamPublisher(Publisher[Outgoing]):
    """Changes of one epoch, after `position`, which is what the stream ends with.

    `created` and `last_sequence` are the stream's as it was when that was found.
    """

    def __init__(
        self,
        stream: Stream,
        settings: CdcSettings,
        health: Health,
        *,
        created: str,
        last_sequence: int,
        position: Position,
    ) -> None:
        self._dead_letters = DeadLetters(stream.client, settings.cdc_outage_budget_seconds, health)
        self._position = position
        super().__init__(
            stream,
            NatsAccess.of(settings),
            health,
            PublisherOptions(
                window_messages=settings.cdc_window_messages,
                window_bytes=settings.cdc_window_bytes,
                ack_seconds=settings.cdc_ack_seconds,
                outage_budget_seconds=settings.cdc_outage_budget_seconds,
                durable=settings.cdc_durable,
            ),
            _METRICS,
            created=created,
            last_sequence=last_sequence,
            name="ssmd-cdc-publish",
            rights=RIGHTS["cdc"].nats,
            replace=self._dead_letters.replace,
        )

    @property
    def acknowledged_position(self) -> Position:
        """The change that is acknowledged, with all before it."""
        last = self.acknowledged.last
        return self._position if last is None else Position.parse(last.id)

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """As every publisher's; the bytes that a marker stands for are stored before it."""
        sent = 0
        for at, message in enumerate(messages):
            if message.raw is not None:
                await super().send(messages[sent:at])
                await self._dead_letters.keep(message, message.raw, self.max_payload)
                message.raw = None
                sent = at
        await super().send(messages[sent:] if sent else messages)
