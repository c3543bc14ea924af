"""Series and events of markets: read from PostgreSQL once, and those that are new a moment later.

A market that is not known yet is published without them and asked for; no request per market.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import psycopg
import structlog

from ssmd_common.connections import postgres
from ssmd_common.connections.retry import first_line
from ssmd_connector.settings import ConnectorSettings

_ASK_SECONDS: Final = 1.0
_MOST_ASKED: Final = 5000
_FORGET_AT: Final = 2_000_000

_OPEN: Final = """
SELECT ticker, series_ticker, event_ticker FROM markets
WHERE exchange_status IS DISTINCT FROM 'finalized'
"""
_SOME: Final = """
SELECT ticker, series_ticker, event_ticker FROM markets WHERE ticker = ANY(%s)
"""
_UNKNOWN: Final = (None, None)

log = structlog.get_logger(__name__)


class SecmasterNames:
    """What PostgreSQL has said so far."""

    def __init__(self, settings: ConnectorSettings) -> None:
        self._settings = settings
        self._known: dict[str, tuple[str | None, str | None]] = {}
        self._wanted: dict[str, None] = {}

    def of(self, ticker: str) -> tuple[str | None, str | None]:
        """Series and event; None for both while they are not known."""
        found = self._known.get(ticker)
        if found is None:
            if len(self._wanted) < _MOST_ASKED:
                self._wanted[ticker] = None
            return _UNKNOWN
        return found

    async def load(self) -> None:
        """Read what can be traded.

        Raises:
            UpstreamUnavailable: PostgreSQL does not answer within the budget.
        """
        async with await self._connected() as connection:
            self._take(await (await connection.execute(_OPEN)).fetchall())
        log.info("markets are known", count=len(self._known))

    async def follow(self) -> None:
        """Ask for those that were missed, a second after they were; until cancelled."""
        while True:
            await asyncio.sleep(_ASK_SECONDS)
            if not self._wanted:
                continue
            asked, self._wanted = list(self._wanted), {}
            try:
                async with await self._connected() as connection:
                    self._take(await (await connection.execute(_SOME, (asked,))).fetchall())
            except (psycopg.Error, OSError) as error:
                log.warning("markets cannot be looked up", reason=first_line(error))

    def _take(self, rows: list[Any]) -> None:
        if len(self._known) + len(rows) > _FORGET_AT:
            self._known.clear()
        self._known.update((ticker, (series, event)) for ticker, series, event in rows)

    async def _connected(self) -> Any:
        return await postgres.connect(
            self._settings.database_url,
            "ssmd-connector",
            budget_seconds=self._settings.startup_budget_seconds,
            reads=True,
        )
