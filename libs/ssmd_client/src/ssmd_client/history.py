"""What was known when: the versions of a row (docs/history.md)."""

from ssmd_client import rows
from ssmd_client.lists import Rows
from ssmd_client.transport import Transport, segment


class History:
    """`client.history`: each method gives the versions of one row, the newest first."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def market(self, ticker: str, *, limit: int | None = None) -> Rows[rows.Version]:
        """Of a market; NotFound where there never was one."""
        return self._of("markets", ticker, limit)

    def event(self, ticker: str, *, limit: int | None = None) -> Rows[rows.Version]:
        """Of an event."""
        return self._of("events", ticker, limit)

    def series(self, ticker: str, *, limit: int | None = None) -> Rows[rows.Version]:
        """Of a series."""
        return self._of("series", ticker, limit)

    def _of(self, table: str, ticker: str, limit: int | None) -> Rows[rows.Version]:
        path = f"{table}/{segment(ticker)}/history"
        return Rows(self._transport, path, "history", rows.Version, {}, limit=limit)
