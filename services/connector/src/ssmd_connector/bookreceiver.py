"""Books of one shard, for as long as the process lives: it leads, or stands by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from ssmd_connector.bookchoice import BookChoice
from ssmd_connector.booklines import BookLines
from ssmd_connector.capture import Capture
from ssmd_connector.scope import Scope
from ssmd_connector.secmaster import LiveView
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.socket import KalshiSocket

CHOOSE_SECONDS: Final = 60.0
"""How often what time and trading move is chosen anew."""
_GATHER_SECONDS: Final = 0.2


class BookReceiver:
    """Chosen by the scope and subscribed; `lines` says to whom what comes is told."""

    def __init__(
        self,
        view: LiveView,
        scope: Callable[[], Scope],
        open_socket: Callable[[Selection], KalshiSocket],
        make_capture: Callable[[], Capture],
        *,
        shard: int,
        shards: int,
        connections: int,
    ) -> None:
        self._view = view
        self._scope = scope
        self._choice = BookChoice(view, shard, shards)
        self._all = asyncio.Event()
        self._chosen = False
        self.lines = BookLines(open_socket, make_capture, most=connections)

    async def run(self) -> None:
        """Until it is cancelled.

        Raises:
            ExceptionGroup: of KalshiError, reconnecting does not help.
        """
        end = self._view.listen(self._look)
        try:
            self._all.set()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.lines.run(), name="books lines")
                tasks.create_task(self._choose(), name="books choice")
        finally:
            end()

    def rescope(self) -> None:
        """Choose anew by the scope as it is now."""
        self._all.set()

    def _look(self, ticker: str | None) -> None:
        if ticker is None:
            self._all.set()
        elif self._chosen:
            match self._choice.look(ticker, datetime.now(UTC)):
                case True:
                    self.lines.want(add=[ticker])
                case False:
                    self.lines.want(remove=[ticker])
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
        there = self.lines.all_wanted
        self.lines.want(add=sorted(wanted - there), remove=sorted(there - wanted))
