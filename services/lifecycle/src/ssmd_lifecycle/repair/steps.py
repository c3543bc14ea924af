"""Which steps of a market's life a gap may have hidden, by what REST shows of it. Pure.

The repair sees what has become of a market meanwhile; each step that the exchange has made since
the gap began is to have its row in `market_lifecycle_events`. What a message or the clock announced
has one already, so these are candidates: `ssmd_store.log` takes those of which no row exists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ssmd_common.models import LifecycleRow, Market
from ssmd_common.status import MarketStatus, market_status
from ssmd_kalshi import values
from ssmd_lifecycle import dedupe
from ssmd_lifecycle.clock.timed import TimedKind, TimedTransition
from ssmd_lifecycle.feed.messages import Kind
from ssmd_lifecycle.unannounced import Source, Transition


@dataclass(frozen=True, slots=True)
class Step(Transition):
    """A step that messages announce, as REST shows it."""

    kind: Kind
    result: str | None = None

    @property
    def dedupe_key(self) -> str:
        return dedupe.rest_key(self.ticker, self.kind, self.at)

    def row(self, now: datetime, source: Source = "rest") -> LifecycleRow:
        result = None if self.result is None else {"result": self.result}
        return self._row(source, now, self.dedupe_key, body=result)


def steps_of(market: Market, since: datetime, now: datetime) -> Iterator[Step | TimedTransition]:
    """The steps of a market's life from `since` to `now`, in their order.

    A pause that began and ended unheard leaves no trace. When a market was determined REST does not
    say. Multivariate markets have a channel of their own, which is not followed.
    """
    if market.mve_collection_ticker is not None:
        return

    def step(kind: Kind, at: datetime | None) -> Step:
        result = market.result if kind is Kind.DETERMINED else None
        return Step(kind, market.ticker, market.event_ticker, at, result)

    def timed(kind: TimedKind, at: datetime) -> TimedTransition:
        return TimedTransition(kind, market.ticker, market.event_ticker, at)

    def within(at: datetime | None) -> bool:
        return at is not None and since <= at <= now

    exchange_status = market.exchange_status
    status = market_status(exchange_status)
    ended = status in (MarketStatus.CLOSED, MarketStatus.SETTLED)
    created_at = _created_at(market)
    if within(created_at):
        yield step(Kind.CREATED, created_at)
    if (ended or status is MarketStatus.ACTIVE) and market.open_time and within(market.open_time):
        yield timed(TimedKind.OPENED, market.open_time)
    if exchange_status in ("active", "inactive") and within(market.exchange_updated_at):
        kind = Kind.ACTIVATED if exchange_status == "active" else Kind.DEACTIVATED
        yield step(kind, market.exchange_updated_at)
    if ended and market.close_time and within(market.close_time):
        yield timed(TimedKind.CLOSED, market.close_time)
    determined = ended and exchange_status != "closed"
    if determined and (within(market.close_time) or within(market.exchange_updated_at)):
        yield step(Kind.DETERMINED, None)
    if status is MarketStatus.SETTLED and within(market.settled_time):
        yield step(Kind.SETTLED, market.settled_time)


def _created_at(market: Market) -> datetime | None:
    try:
        return values.time((market.extra or {}).get("created_time"))
    except (ValueError, TypeError):
        return None
