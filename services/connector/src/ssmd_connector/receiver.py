"""Trades and quotes of one socket, for as long as the process lives: it leads, or stands by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from ssmd_common.health import Health
from ssmd_connector.backlog import Backlog
from ssmd_connector.capture import Capture
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_kalshi.feed import Connected, Disconnected, Ended, FeedEvent, Gap, MarketData, Subscribed
from ssmd_kalshi.marketdata import TICKER, TRADE
from ssmd_kalshi.socket import KalshiSocket

NOT_SUBSCRIBED = "the exchange's WebSocket is not subscribed"

log = structlog.get_logger(__name__)


class Sink(Protocol):
    """Who publishes."""

    def put(self, message: MarketOutgoing) -> None:
        """Publish it."""
        ...

    def hole(self, since: datetime | None, until: datetime) -> None:
        """Trades between these may be missing; None: since before this process."""
        ...


class Receiver:
    """Hands what it hears to `sink`, or keeps the last of it where there is none."""

    def __init__(
        self, socket: KalshiSocket, capture: Capture, backlog: Backlog, health: Health
    ) -> None:
        self.capture = capture
        self.backlog = backlog
        self.sink: Sink | None = None
        self.socket = socket
        capture.socket = socket
        self._health = health

    @property
    def channels(self) -> tuple[int, int]:
        """How many are wanted, and how many of them are confirmed."""
        confirmed = [self.socket.channel(name).confirmed for name in (TRADE, TICKER)]
        return len(confirmed), sum(confirmed)

    async def run(self) -> None:
        """Until it is cancelled, or the exchange refuses for good.

        Raises:
            KalshiError: reconnecting does not help.
        """
        self._health.set("exchange", NOT_SUBSCRIBED)
        while events := await self.socket.batch():
            for event in events:
                self.take(event)

    def rescope(self, selectors: list[dict[str, Any]] | None) -> None:
        """Another scope holds from now on; None: everything is published."""
        capture = self.capture
        if capture.left_out is None:
            return
        capture.left_out.begin(selectors)
        if self.sink is not None and capture.session:
            for record in capture.scope(datetime.now(UTC)):
                self.sink.put(record)

    def take(self, event: FeedEvent) -> None:
        """Hand an event's messages on."""
        sink, backlog = self.sink, self.backlog
        put = backlog.put if sink is None else sink.put
        for message in self.capture.take(event):
            put(message)
        if isinstance(event, MarketData):
            # Nearly all are.
            return
        match event:
            case Connected():
                log.info("connected to the exchange", session=self.capture.session)
            case Gap(channel=channel, since=since, until=until):
                if self.socket.subscribed:
                    backlog.begin(until)
                if sink is not None and channel == TRADE:
                    sink.hole(since, until)
            case Subscribed() | Disconnected():
                self._look()
                if not self.socket.subscribed:
                    backlog.lost()
            case Ended():
                # It may have to wait until it is asked for again.
                self._look()
            case _:
                pass

    def _look(self) -> None:
        is_subscribed = self.socket.subscribed
        self._health.set("exchange", None if is_subscribed else NOT_SUBSCRIBED)
