"""Which rows of `market_lifecycle_events` a market is owed by what REST tells of it. Pure.

A gap hides messages. The repair sees what has become of a market meanwhile, and each step of its
life that the exchange has made since then is owed its row. What a message or the clock told has its
row already, so these are offers: `ssmd_store.log` takes those of which no row exists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from ssmd_common.models import Market
from ssmd_kalshi import values
from ssmd_lifecycle import dedupe
from ssmd_lifecycle.clock import Due, Turn
from ssmd_lifecycle.messages import Kind

_DETERMINED: Final = frozenset({"determined", "disputed", "amended", "finalized"})
_ENDED: Final = _DETERMINED | {"closed"}
_OPENED: Final = _ENDED | {"active"}


@dataclass(frozen=True, slots=True)
class Step:
    """A step that messages announce, as REST shows it; `at` where the exchange says when."""

    kind: Kind
    ticker: str
    event_ticker: str
    at: datetime | None
    result: str | None = None

    @property
    def dedupe_key(self) -> str:
        return dedupe.rest_key(self.ticker, self.kind, self.at)


def metadata(step: Step | Due) -> bytes:
    """The row's `metadata`: marked as found over REST."""
    body = {
        "event_type": step.kind if isinstance(step, Step) else step.turn,
        "market_ticker": step.ticker,
        "event_ticker": step.event_ticker,
        "at": step.at,
    }
    if isinstance(step, Step) and step.result is not None:
        body["result"] = step.result
    return msgspec.json.encode({"source": "rest", "msg": body})


def owed(market: Market, since: datetime, now: datetime) -> Iterator[Step | Due]:
    """The steps of a market's life from `since` to `now`, in their order.

    A pause that began and ended unheard leaves no trace. When a market was determined REST does not
    say. Multivariate markets have a channel of their own, which is not followed.
    """
    if market.mve_collection_ticker is not None:
        return

    def step(kind: Kind, at: datetime | None) -> Step:
        result = market.result if kind is Kind.DETERMINED else None
        return Step(kind, market.ticker, market.event_ticker, at, result)

    def within(at: datetime | None) -> bool:
        return at is not None and since <= at <= now

    word = market.exchange_status
    created_at = _created_at(market)
    if within(created_at):
        yield step(Kind.CREATED, created_at)
    if word in _OPENED and market.open_time and within(market.open_time):
        yield Due(Turn.OPENED, market.ticker, market.event_ticker, market.open_time)
    if within(market.exchange_updated_at) and word in ("active", "inactive"):
        kind = Kind.ACTIVATED if word == "active" else Kind.DEACTIVATED
        yield step(kind, market.exchange_updated_at)
    if word in _ENDED and market.close_time and within(market.close_time):
        yield Due(Turn.CLOSED, market.ticker, market.event_ticker, market.close_time)
    if word in _DETERMINED and (within(market.close_time) or within(market.exchange_updated_at)):
        yield step(Kind.DETERMINED, None)
    if word == "finalized" and within(market.settled_time):
        yield step(Kind.SETTLED, market.settled_time)


def _created_at(market: Market) -> datetime | None:
    said = (market.extra or {}).get("created_time")
    try:
        return values.time(said)
    except (ValueError, TypeError):
        return None
