"""One publisher's life of a shard's books: chosen by the scope, subscribed, published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from ssmd_common.health import Health
from ssmd_connector import metrics
from ssmd_connector.bookchoice import BookChoice
from ssmd_connector.booklines import BookLines
from ssmd_connector.capture import Capture
from ssmd_connector.outbox import Drops, Outbox
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.pipe import COUNT_SECONDS, Pipe
from ssmd_connector.scope import Scope
from ssmd_connector.secmaster import LiveView
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.socket import KalshiSocket
from ssmd_stream.publish.publisher import Publisher

CHOOSE_SECONDS: Final = 60.0
"""How often what time and trading move is chosen anew."""
_GATHER_SECONDS: Final = 0.2

log = structlog.get_logger(__name__)


class BooksLife:
    """All of it runs in `run`; `rescope` is told when the scope file has changed."""

    def __init__(
        self,
        view: LiveView,
        scope: Callable[[], Scope],
        open_socket: Callable[[Selection], KalshiSocket],
        make_capture: Callable[[], Capture],
        outbox: Outbox,
        publisher: Publisher[MarketOutgoing],
        health: Health,
        *,
        shard: int,
        shards: int,
        connections: int,
        count_seconds: float = COUNT_SECONDS,
    ) -> None:
        self._view = view
        self._scope = scope
        self._choice = BookChoice(view, shard, shards)
        self._all = asyncio.Event()
        self._chosen = False
        self._health = health
        self._count_seconds = count_seconds
        self._lines = BookLines(open_socket, make_capture, self._publish, most=connections)
        self._pipe = Pipe(
            outbox,
            publisher,
            health,
            captures=lambda: self._lines.captures,
            came_back=self._came_back,
            count_seconds=count_seconds,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop`, then flush.

        Raises:
            ExceptionGroup: of what ended the publisher or a socket.
        """
        end = self._view.listen(self._look)
        try:
            self._all.set()
            others = [
                ("books", self._lines.run()),
                ("choice", self._choose()),
                ("report", self._report()),
            ]
            await self._pipe.run(stop, others)
        finally:
            end()
            # It would be published by nobody.
            self._pipe.outbox.empty()

    def rescope(self) -> None:
        """Choose anew by the scope as it is now."""
        self._all.set()

    def _publish(self, message: MarketOutgoing, capture: Capture) -> None:
        self._pipe.put(message, capture)

    def _came_back(self, drops: Drops) -> None:
        """Books of which something was dropped begin anew."""
        if "book" in drops.counts:
            self._lines.renew()

    # --- choice -----------------------------------------------------------------------------------

    def _look(self, ticker: str | None) -> None:
        if ticker is None:
            self._all.set()
        elif self._chosen:
            match self._choice.look(ticker, datetime.now(UTC)):
                case True:
                    self._lines.want(add=[ticker])
                case False:
                    self._lines.want(remove=[ticker])
                case None:
                    pass

    async def _choose(self) -> None:
        while True:
            moves = self._scope().moves
            try:
                async with asyncio.timeout(CHOOSE_SECONDS if moves else None):
                    await self._all.wait()
            except TimeoutError:
                pass
            self._all.clear()
            if not self._view.is_ready:
                await asyncio.sleep(_GATHER_SECONDS)
                self._all.set()
                continue
            await self._choose_once()
            # Many changes of everything at once are one.
            await asyncio.sleep(_GATHER_SECONDS)

    async def _choose_once(self) -> None:
        self._chosen = True
        for _ in self._choice.choose(self._scope(), datetime.now(UTC)):
            await asyncio.sleep(0)
        wanted = self._choice.wanted
        there = self._lines.all_wanted
        self._lines.want(add=sorted(wanted - there), remove=sorted(there - wanted))

    async def _report(self) -> None:
        lines = self._lines
        while True:
            await asyncio.sleep(self._count_seconds)
            metrics.BOOKS_WANTED.set(lines.wanted)
            metrics.BOOKS_CONFIRMED.set(lines.confirmed)
            metrics.BOOKS_WITHOUT_PLACE.set(len(lines.without_place))
            reason = None
            if count := len(lines.without_place):
                reason = (
                    f"{count} books found no place: every connection is full; raise "
                    "CONNECTOR_BOOK_CONNECTIONS or choose fewer"
                )
            self._health.degrade("books", reason)
