"""What is due by the clock (`clock.sql`), and its transitions.

Reading what is due needs no lock; `lock_due` says what still is, once its events are locked.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

from ssmd_common.sql import Queries
from ssmd_store.parents import Connection, recompute_events

QUERIES: Final = Queries("ssmd_store", "clock.sql")

DUE: Final[dict[str, LiteralString]] = {
    "opened": QUERIES.due_openings,
    "closed": QUERIES.due_closings,
}
_LOCK: Final[dict[str, LiteralString]] = {
    "opened": QUERIES.lock_openings,
    "closed": QUERIES.lock_closings,
}


async def lock_due(
    connection: Connection, step: str, tickers: Sequence[str], now: datetime
) -> list[tuple[Any, ...]]:
    """Lock those that still are due, under their events' locks: ticker, event and time of each."""
    cursor = await connection.execute(_LOCK[step], {"tickers": list(tickers), "now": now})
    return await cursor.fetchall()


async def transition(
    connection: Connection,
    tickers: Sequence[str],
    status: str,
    now: datetime,
    events: Sequence[str],
) -> None:
    """Give locked markets their status, and their locked events the status that follows."""
    given = {"tickers": list(tickers), "status": status, "now": now}
    await connection.execute(QUERIES.transition_markets, given)
    await recompute_events(connection, events)
