"""The transitions that the exchange does not send: opening and closing in time. Pure.

A market that waits for its `open_time` opens at it, one that trades or is paused closes at its
`close_time`. A market that the exchange paused does not open. The exchange's own word stays as it
was; only `status` moves.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from ssmd_common.status import NOT_YET_CLOSED, MarketStatus
from ssmd_lifecycle import dedupe
from ssmd_store.rules import OPENING_GRACE
from ssmd_store.states import MarketState


class Turn(StrEnum):
    """A transition of the clock, as `market_lifecycle_events.event_type` has it."""

    OPENED = "opened"
    CLOSED = "closed"


STATUS_AFTER: Final = {Turn.OPENED: MarketStatus.ACTIVE, Turn.CLOSED: MarketStatus.CLOSED}


@dataclass(frozen=True, slots=True)
class Due:
    """One market's transition, due at `at`."""

    turn: Turn
    ticker: str
    event_ticker: str
    at: datetime

    @property
    def dedupe_key(self) -> str:
        return dedupe.clock_key(self.ticker, self.turn, self.at)

    def metadata(self, made_at: datetime) -> bytes:
        """The row's `metadata`: marked as the clock's own, and how late it was."""
        document = {
            "source": "clock",
            "msg": {
                "event_type": self.turn,
                "market_ticker": self.ticker,
                "event_ticker": self.event_ticker,
                "at": self.at,
            },
            "late_ms": max(0, round((made_at - self.at).total_seconds() * 1000)),
        }
        return msgspec.json.encode(document)


def due(market: MarketState, now: datetime) -> Due | None:
    """The transition that is due, the earlier one if both are; what `ssmd_store.clock` selects."""
    if market.deleted_at is not None:
        return None
    if opens(market) and market.open_time is not None and market.open_time <= now:
        return Due(Turn.OPENED, market.ticker, market.event_ticker, market.open_time)
    if market.status in NOT_YET_CLOSED and market.close_time and market.close_time <= now:
        return Due(Turn.CLOSED, market.ticker, market.event_ticker, market.close_time)
    return None


def opens(market: MarketState) -> bool:
    """Whether the market waits for its open_time."""
    if market.status != MarketStatus.OPEN or market.exchange_status not in ("initialized", None):
        return False
    believed = (
        market.observed_via == "rest"
        and market.observed_at is not None
        and market.open_time is not None
        and market.observed_at >= market.open_time + OPENING_GRACE
    )
    return not believed


def turned(market: MarketState, turn: Turn, now: datetime) -> MarketState:
    """The market after the clock's transition."""
    return replace(market, status=STATUS_AFTER[turn], observed_at=now, observed_via="clock")
