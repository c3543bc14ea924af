"""The transitions that the exchange does not send: opening and closing in time. Pure.

A market that waits for its `open_time` opens at it, one that trades or is paused closes at its
`close_time`. A market that the exchange paused does not open. `exchange_status` stays as it was;
only `status` moves.

What a clock that was wrong made before its time is reversed: to the status that follows from
`exchange_status` and the stored times.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from ssmd_common.models import LifecycleRow
from ssmd_common.skew import WARNED_SECONDS
from ssmd_common.status import NOT_YET_CLOSED, MarketStatus, market_status
from ssmd_lifecycle import dedupe
from ssmd_lifecycle.unannounced import Source, Transition
from ssmd_store.rules import OPENING_GRACE, STAMPED_AHEAD
from ssmd_store.states import MarketState


class TimedKind(StrEnum):
    """A transition of the clock, as `market_lifecycle_events.event_type` has it."""

    OPENED = "opened"
    CLOSED = "closed"


REVERSED: Final = "turned_back"
"""The `event_type` of a transition that is reversed, because a wrong clock made it too early."""

EARLY_BEYOND: Final = timedelta(seconds=WARNED_SECONDS)
"""What is due sooner than this is not too early: clocks that agree need not be equal."""

STATUS_AFTER: Final = {
    TimedKind.OPENED: MarketStatus.ACTIVE,
    TimedKind.CLOSED: MarketStatus.CLOSED,
}


@dataclass(frozen=True, slots=True)
class TimedTransition(Transition):
    """One market's transition, due at `at`."""

    kind: TimedKind
    at: datetime

    @property
    def dedupe_key(self) -> str:
        return dedupe.clock_key(self.ticker, self.kind, self.at)

    def row(self, now: datetime, source: Source = "clock") -> LifecycleRow:
        """Its row: how late the clock made it, or that it was found over REST."""
        if source == "rest":
            return self._row(source, now, self.dedupe_key)
        late_ms = max(0, round((now - self.at).total_seconds() * 1000))
        return self._row(source, now, self.dedupe_key, late_ms=late_ms)


def due(market: MarketState, now: datetime) -> TimedTransition | None:
    """The transition that is due, the earlier one if both are; what `ssmd_store.clock` selects."""
    if market.deleted_at is not None:
        return None
    if opens(market, now) and market.open_time is not None and market.open_time <= now:
        kind, at = TimedKind.OPENED, market.open_time
    elif market.status in NOT_YET_CLOSED and market.close_time and market.close_time <= now:
        kind, at = TimedKind.CLOSED, market.close_time
    else:
        return None
    return TimedTransition(kind, market.ticker, market.event_ticker, at)


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


def after(market: MarketState, kind: TimedKind, now: datetime) -> MarketState:
    """The market after the clock's transition."""
    return replace(market, status=STATUS_AFTER[kind], observed_at=now, observed_via="clock")


@dataclass(frozen=True, slots=True)
class EarlyTransition(TimedTransition):
    """What a clock made before its time, which is to come."""

    status: str
    exchange_status: str | None
    open_time: datetime | None

    def status_before(self, now: datetime) -> MarketStatus:
        """What it is until then, by `exchange_status`; opening in time is the clock's."""
        status = market_status(self.exchange_status) or MarketStatus.OPEN
        waits = self.exchange_status in ("initialized", None) and self.kind is TimedKind.CLOSED
        if waits and self.open_time is not None and self.open_time <= now:
            return MarketStatus.ACTIVE
        return status

    def early_keys(self, now: datetime) -> list[str]:
        """The dedupe keys of what was made: they are needed again when the time has come."""
        keys = [self.dedupe_key]
        if self.kind is TimedKind.CLOSED and self.open_time is not None and self.open_time > now:
            keys.append(dedupe.clock_key(self.ticker, TimedKind.OPENED, self.open_time))
        return keys

    def reversal(self, now: datetime) -> LifecycleRow:
        """The row of its reversal: from which status to which, and how much too early it was."""
        return self._row(
            "clock",
            now,
            dedupe.clock_key(self.ticker, REVERSED, now),
            event_type=REVERSED,
            body={"turn": self.kind, "from": self.status, "to": self.status_before(now)},
            early_ms=round((self.at - now).total_seconds() * 1000),
        )
