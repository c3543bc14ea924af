"""Status rules: the exchange's words, and what a market's and an event's status is."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final


class MarketStatus(StrEnum):
    OPEN = "open"
    """Listed, and not in trading: before its open_time, or paused."""
    ACTIVE = "active"
    CLOSED = "closed"
    SETTLED = "settled"


class EventStatus(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    SETTLED = "settled"


FROM_EXCHANGE: Final = {
    "initialized": MarketStatus.OPEN,
    "active": MarketStatus.ACTIVE,
    "inactive": MarketStatus.OPEN,
    "closed": MarketStatus.CLOSED,
    "determined": MarketStatus.CLOSED,
    "disputed": MarketStatus.CLOSED,
    "amended": MarketStatus.CLOSED,
    "finalized": MarketStatus.SETTLED,
}

# A status never moves backwards past these on older information.
RANK: Final = {
    MarketStatus.OPEN: 0,
    MarketStatus.ACTIVE: 0,
    MarketStatus.CLOSED: 1,
    MarketStatus.SETTLED: 2,
}

NOT_YET_CLOSED: Final = (MarketStatus.OPEN, MarketStatus.ACTIVE)


def market_status(exchange_status: str | None) -> MarketStatus | None:
    """The status that the exchange's word means; None for a word that is not known."""
    return FROM_EXCHANGE.get(exchange_status or "")


def event_status(markets: Iterable[tuple[str, datetime | None]]) -> EventStatus:
    """An event's status from its markets' (status, deleted_at).

    Settled when all its markets are, closed when none is open or active, else open; soft-deleted
    markets aside; open without markets.
    """
    statuses = {status for status, deleted_at in markets if deleted_at is None}
    if not statuses or not statuses.isdisjoint(NOT_YET_CLOSED):
        return EventStatus.OPEN
    return EventStatus.SETTLED if statuses == {MarketStatus.SETTLED} else EventStatus.CLOSED
