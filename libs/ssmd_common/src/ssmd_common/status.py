"""Status rules: the exchange's words, and what a market's status is. An event's follows from its
markets (`ssmd_store.parents`)."""

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

NOT_YET_CLOSED: Final = (MarketStatus.OPEN, MarketStatus.ACTIVE)


def market_status(exchange_status: str | None) -> MarketStatus | None:
    """The status that the exchange's word means; None for a word that is not known."""
    return FROM_EXCHANGE.get(exchange_status or "")
