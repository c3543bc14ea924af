"""The transitions that the exchange does not send: opening and closing in time. Pure.

A market that waits for its `open_time` opens at it, one that trades or is paused closes at its
`close_time`. A market that the exchange paused does not open. The exchange's own word stays as it
was; only `status` moves.

What a clock that was wrong turned before its time is turned back: to what the exchange's word and
the stored times say.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from ssmd_common.skew import WARNED_SECONDS
from ssmd_common.status import NOT_YET_CLOSED, MarketStatus, market_status
from ssmd_lifecycle import dedupe
from ssmd_store.rules import OPENING_GRACE, STAMPED_AHEAD
from ssmd_store.states import MarketState


class Turn(StrEnum):
    """A transition of the clock, as `market_lifecycle_events.event_type` has it."""

    OPENED = "opened"
    CLOSED = "closed"


TURNED_BACK: Final = "turned_back"
"""The `event_type` of a transition that is taken back, because a wrong clock made it too early."""

BACK_BEYOND: Final = timedelta(seconds=WARNED_SECONDS)
"""What is due sooner than this stays turned: clocks that agree need not be equal."""

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
    if opens(market, now) and market.open_time is not None and market.open_time <= now:
        return Due(Turn.OPENED, market.ticker, market.event_ticker, market.open_time)
    if market.status in NOT_YET_CLOSED and market.close_time and market.close_time <= now:
        return Due(Turn.CLOSED, market.ticker, market.event_ticker, market.close_time)
    return None


def opens(market: MarketState, now: datetime) -> bool:
    """Whether the market waits for its open_time. A stamp that is still to come proves nothing."""
    if market.status != MarketStatus.OPEN or market.exchange_status not in ("initialized", None):
        return False
    believed = (
        market.observed_via == "rest"
        and market.observed_at is not None
        and market.open_time is not None
        and market.open_time + OPENING_GRACE <= market.observed_at <= now + STAMPED_AHEAD
    )
    return not believed


@dataclass(frozen=True, slots=True)
class TooEarly:
    """A market that a clock turned before its time: `turn` was due at `at`, which is to come."""

    turn: Turn
    ticker: str
    event_ticker: str
    at: datetime
    status: str
    exchange_status: str | None
    open_time: datetime | None

    def status_before(self, now: datetime) -> MarketStatus:
        """What it is until then, by the exchange's word; opening in time is the clock's."""
        status = market_status(self.exchange_status) or MarketStatus.OPEN
        waits = self.exchange_status in ("initialized", None) and self.turn is Turn.CLOSED
        if waits and self.open_time is not None and self.open_time <= now:
            return MarketStatus.ACTIVE
        return status

    def dedupe_key(self, now: datetime) -> str:
        return dedupe.clock_key(self.ticker, TURNED_BACK, now)

    def early_keys(self, now: datetime) -> list[str]:
        """The keys of what was turned: they are needed again when the time has come."""
        keys = [dedupe.clock_key(self.ticker, self.turn, self.at)]
        if self.turn is Turn.CLOSED and self.open_time is not None and self.open_time > now:
            keys.append(dedupe.clock_key(self.ticker, Turn.OPENED, self.open_time))
        return keys

    def metadata(self, now: datetime) -> bytes:
        """The row's `metadata`: what was turned back, to which status, how much too early."""
        document = {
            "source": "clock",
            "msg": {
                "event_type": TURNED_BACK,
                "market_ticker": self.ticker,
                "event_ticker": self.event_ticker,
                "at": self.at,
                "turn": self.turn,
                "from": self.status,
                "to": self.status_before(now),
            },
            "early_ms": round((self.at - now).total_seconds() * 1000),
        }
        return msgspec.json.encode(document)


def turned(market: MarketState, turn: Turn, now: datetime) -> MarketState:
    """The market after the clock's transition."""
    return replace(market, status=STATUS_AFTER[turn], observed_at=now, observed_via="clock")
