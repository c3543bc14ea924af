"""What was known when: the versions of a row (docs/history.md)."""

from typing import TypeVar

from ssmd_client import rows
from ssmd_client.lists import Rows
from ssmd_client.transport import Transport, segment

V = TypeVar("V", bound=rows.Version)


class History:
    """`client.history`: each method gives the versions of one row, the newest first.

    Their `data` and `before` lack the columns that history does not keep (`NotLoaded`).
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def market(self, ticker: str, *, limit: int | None = None) -> Rows[rows.MarketVersion]:
        """Of a market; NotFound where there never was one."""
        return self._of("markets", ticker, rows.MarketVersion, limit)

    def event(self, ticker: str, *, limit: int | None = None) -> Rows[rows.EventVersion]:
        """Of an event."""
        return self._of("events", ticker, rows.EventVersion, limit)

    def series(self, ticker: str, *, limit: int | None = None) -> Rows[rows.SeriesVersion]:
        """Of a series."""
        return self._of("series", ticker, rows.SeriesVersion, limit)

    def _of(self, table: str, ticker: str, kind: type[V], limit: int | None) -> Rows[V]:
        path = f"{table}/{segment(ticker)}/history"
        return Rows(self._transport, path, "history", kind, {}, limit=limit, is_sparse=True)
