"""The socket's events: messages to the inbox, gaps to `gaps`, the connection to health."""

import structlog

from ssmd_common.runtime import Runtime
from ssmd_kalshi.feed import (
    Connected,
    Disconnected,
    Gap,
    Message,
    Subscribed,
    Unreadable,
)
from ssmd_kalshi.socket import KalshiSocket
from ssmd_lifecycle import metrics
from ssmd_lifecycle.feed.gaps import Gaps
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.feed.messages import MARKET_CHANNEL, MULTIVARIATE_CHANNEL, LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_message, parse_unreadable
from ssmd_lifecycle.feed.silence import Silence

log = structlog.get_logger(__name__)


class Listener:
    """Reads one socket until it is cancelled."""

    def __init__(
        self, inbox: Inbox, silence: Silence, gaps: Gaps, *, multivariate: bool = False
    ) -> None:
        """`multivariate` tells whether messages about multivariate markets are kept."""
        self._keeps_multivariate = multivariate
        self._inbox = inbox
        self._silence = silence
        self._gaps = gaps
        self._multivariate: set[int] = set()

    async def run(self, runtime: Runtime, socket: KalshiSocket) -> None:
        """Until cancelled; errors that reconnecting would not cure end the service."""
        runtime.health.set("exchange", "the exchange's WebSocket is not subscribed yet")
        async for event in socket:
            match event:
                case Message():
                    await self.keep(
                        parse_message(event, multivariate=event.sid in self._multivariate)
                    )
                case Unreadable():
                    await self.keep(parse_unreadable(event))
                case Gap(channel=channel) if channel == MARKET_CHANNEL:
                    await self._gaps.add(runtime, event.reason.value, event.since, event.until)
                case Gap():
                    # Messages of the multivariate channel are kept, not applied: nothing to repair.
                    metrics.GAPS.labels("multivariate").inc()
                case Subscribed():
                    if event.channel == MULTIVARIATE_CHANNEL and event.sid is not None:
                        self._multivariate.add(event.sid)
                    if socket.subscribed:
                        metrics.CONNECTED.set(1)
                        runtime.health.position["listening"] = True
                        runtime.health.set("exchange", None)
                    log.info("subscribed", channel=event.channel)
                case Connected():
                    self._multivariate.clear()
                    log.info("connected to the exchange")
                case Disconnected():
                    metrics.CONNECTED.set(0)
                    runtime.health.position["listening"] = False
                    runtime.health.set("exchange", f"not connected to the exchange: {event.detail}")
                    log.warning(
                        "disconnected from the exchange",
                        reason=event.reason.value,
                        detail=event.detail,
                        attempt=event.attempt,
                    )

    async def keep(self, message: LifecycleMessage) -> None:
        """Count a message and put it into the inbox; waits while that is full."""
        self._silence.heard(message.received_at)
        if message.is_multivariate and not self._keeps_multivariate:
            # The exchange has a channel for them; on this one it would be a flood of strangers.
            metrics.LEFT_OUT.inc()
            return
        _count(message)
        await self._inbox.put(message)


def _count(message: LifecycleMessage) -> None:
    metrics.MESSAGES.labels(message.kind.value).inc()
    if message.fault is not None:
        metrics.UNKNOWN.inc()
        log.warning(
            "message kept without being understood",
            event_type=message.event_type,
            ticker=message.ticker,
            fault=message.fault,
        )
    for rejected in message.rejected:
        metrics.REJECTED.labels(rejected.field).inc()
    if message.rejected:
        log.warning(
            "fields of a message cannot be read",
            event_type=message.event_type,
            ticker=message.ticker,
            fields={rejected.field: rejected.reason for rejected in message.rejected},
        )
