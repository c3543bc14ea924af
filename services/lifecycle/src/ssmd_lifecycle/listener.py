"""The socket's events: messages to the inbox, gaps to the repairer, the connection to health."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from ssmd_common.runtime import Runtime
from ssmd_kalshi.feed import (
    Connected,
    Disconnected,
    Gap,
    GapReason,
    Message,
    Subscribed,
    Unreadable,
)
from ssmd_kalshi.socket import KalshiSocket
from ssmd_lifecycle import metrics
from ssmd_lifecycle.inbox import Inbox
from ssmd_lifecycle.intake import read, read_unreadable
from ssmd_lifecycle.messages import MARKET_CHANNEL, MULTIVARIATE_CHANNEL, LifecycleMessage
from ssmd_lifecycle.silence import Silence

log = structlog.get_logger(__name__)

OnGap = Callable[[str, datetime | None, datetime], Awaitable[None]]
"""Told the reason, since when (None: since whatever is known), and until when."""


class Listener:
    """Reads one socket until it is cancelled. `on_gap` is set once this replica leads."""

    def __init__(self, inbox: Inbox, silence: Silence) -> None:
        self._inbox = inbox
        self._silence = silence
        self._multivariate: set[int] = set()
        self.on_gap: OnGap | None = None
        self.began = False
        """Whether the first subscription has been confirmed: the gap before it was told."""

    async def run(self, runtime: Runtime, socket: KalshiSocket) -> None:
        """Until cancelled; errors that reconnecting would not cure end the service."""
        runtime.health.set("exchange", "the exchange's WebSocket is not subscribed yet")
        async for event in socket:
            match event:
                case Message():
                    await self._keep(read(event, multivariate=event.sid in self._multivariate))
                case Unreadable():
                    await self._keep(read_unreadable(event))
                case Gap(channel=channel) if channel == MARKET_CHANNEL:
                    self.began = True
                    if self.on_gap is not None:
                        await self.on_gap(event.reason.value, event.since, event.until)
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

    async def on_silence(self, since: datetime, until: datetime) -> None:
        """A subscription may have died while the pings go on: what was not heard is a gap."""
        if self.on_gap is not None:
            await self.on_gap(GapReason.SILENCE.value, since, until)

    async def _keep(self, message: LifecycleMessage) -> None:
        _count(message)
        self._silence.heard(message.received_at)
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
