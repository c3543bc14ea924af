"""What messages make of a market and of an event. Pure: `now` is an argument.

The rules (`ssmd_store.rules`), so that late, repeated and reordered messages end in the same
state as the right order:

- Of all messages of a market, the last one that speaks of a column decides it. So a message counts
  only where no stored message that the exchange sent later speaks of the same column.
- What REST said after a message was sent stands, since it knew of it. Only determination and
  settlement, which nothing takes back, fill in what REST did not have yet.
- `exchange_status` only moves on: trading (initialized, active, inactive), closed, determined,
  finalized. Opening and closing in time are the clock's (`ssmd_lifecycle.clock`) and change
  `status` alone; a close that moves into the future takes back a closing that the clock made.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeVar

from ssmd_common.status import FROM_EXCHANGE, MarketStatus
from ssmd_lifecycle.messages import PAUSES, Kind, LifecycleMessage
from ssmd_store.rules import REST_LAG, STAMPED_AHEAD
from ssmd_store.states import EventState, MarketState

TRADING: Final = frozenset({"initialized", "active", "inactive"})
_DETERMINED: Final = frozenset({"determined", "disputed", "amended"})
_FINAL: Final = frozenset({"result", "settlement_value_dollars", "settled_time"})


S = TypeVar("S", MarketState, EventState)


def born(created: LifecycleMessage, series_ticker: str) -> MarketState:
    """A market that no row exists of, before its messages are applied to it."""
    assert created.market_ticker is not None
    assert created.event_ticker is not None
    return MarketState(
        ticker=created.market_ticker,
        event_ticker=created.event_ticker,
        series_ticker=series_ticker,
        exchange_status="initialized",
        extra=created.claims.get("extra") or None,
    )


def advance(
    state: MarketState,
    fresh: Collection[str],
    history: Sequence[LifecycleMessage],
    now: datetime,
) -> MarketState:
    """The market after its fresh messages; the same object where they change nothing.

    `history` is every stored message of the market, the fresh ones included, in any order; `fresh`
    the dedupe keys of those that have not been applied.
    """
    ordered = sorted((m for m in history if m.applies), key=lambda message: message.order)
    new = [message for message in ordered if message.dedupe_key in fresh]
    if not new:
        return state
    before = state
    if state.observed_at is not None and state.observed_at > now + STAMPED_AHEAD:
        state = replace(state, observed_at=None)
    rest_at = None
    if state.observed_via == "rest" and state.observed_at is not None:
        rest_at = state.observed_at - REST_LAG
    changes = _claimed(state, ordered, fresh, rest_at)
    if state.deleted_at is not None and any(
        m.kind is Kind.CREATED and m.heard_at > state.deleted_at for m in new
    ):
        changes["deleted_at"] = None
    word = _word(state, ordered, fresh, rest_at)
    moved = replace(state, exchange_status=word, **changes)
    status = _status(moved, now)
    if status == state.status and moved == state:
        return before
    # Its arrival, not its sending: REST that was asked before it may not know of it.
    observed_at = max(message.received_at for message in new)
    return replace(
        moved,
        status=status,
        observed_at=max(observed_at, state.observed_at or observed_at),
        observed_via="ws",
    )


def _claimed(
    state: MarketState,
    ordered: Sequence[LifecycleMessage],
    fresh: Collection[str],
    rest_at: datetime | None,
) -> dict[str, Any]:
    """The columns that fresh messages decide, with their values."""
    deciders: dict[str, LifecycleMessage] = {}
    for message in ordered:
        for column in message.claims:
            deciders[column] = message
    changes: dict[str, Any] = {}
    for column, message in deciders.items():
        if message.dedupe_key not in fresh or column == "extra":
            continue
        known_to_rest = rest_at is not None and message.heard_at <= rest_at
        if known_to_rest and (column not in _FINAL or getattr(state, column) is not None):
            continue
        changes[column] = message.claims[column]
    return changes


def _word(
    state: MarketState,
    ordered: Sequence[LifecycleMessage],
    fresh: Collection[str],
    rest_at: datetime | None,
) -> str | None:
    """The exchange's word after the fresh messages."""
    word = state.exchange_status
    kinds = {message.kind for message in ordered if message.dedupe_key in fresh}
    if state.status == MarketStatus.SETTLED:
        return word
    if Kind.SETTLED in kinds:
        return "finalized"
    if Kind.DETERMINED in kinds:
        if word not in _DETERMINED:
            return "determined"
        last = max(m.heard_at for m in ordered if m.kind is Kind.DETERMINED)
        # A dispute or an amendment has no message: only a later determination ends it.
        return "determined" if rest_at is not None and last > rest_at else word
    pauses = [message for message in ordered if message.kind in PAUSES]
    if not pauses or pauses[-1].dedupe_key not in fresh or word in _DETERMINED:
        return word
    last_pause = pauses[-1]
    if rest_at is not None and last_pause.heard_at <= rest_at:
        return word
    if state.status == MarketStatus.CLOSED and word not in TRADING:
        # The exchange itself said closed: only what it said later reopens.
        newer = state.observed_at is not None and last_pause.heard_at > state.observed_at
        return "active" if newer and last_pause.kind is Kind.ACTIVATED else word
    return "active" if last_pause.kind is Kind.ACTIVATED else "inactive"


def _status(market: MarketState, now: datetime) -> str:
    """The status that follows from the exchange's word, and from what the clock did already."""
    word, status = market.exchange_status, market.status
    if word not in TRADING:
        return FROM_EXCHANGE.get(word or "", status)
    if status == MarketStatus.SETTLED:
        return status
    if status == MarketStatus.CLOSED and (market.close_time is None or market.close_time <= now):
        return MarketStatus.CLOSED
    if word == "initialized":
        opened = status != MarketStatus.OPEN and (
            market.open_time is None or market.open_time <= now
        )
        return MarketStatus.ACTIVE if opened else MarketStatus.OPEN
    return FROM_EXCHANGE[word]


def differences(before: S, after: S) -> dict[str, Any]:
    """The columns that differ, with their values after."""
    return {
        name: getattr(after, name)
        for name in type(before).__slots__
        if getattr(before, name) != getattr(after, name)
    }


def advance_event(
    state: EventState, fresh: Collection[str], history: Sequence[LifecycleMessage]
) -> EventState:
    """The event after its fresh messages; the same object where they change nothing.

    The last message that speaks of a column decides it, unless REST has seen a later version of the
    event; what the row does not have, an announcement fills in any case.
    """
    deciders: dict[str, LifecycleMessage] = {}
    for message in sorted((m for m in history if m.applies), key=lambda message: message.order):
        for column in message.claims:
            deciders[column] = message
    known_at = state.exchange_updated_at
    changes: dict[str, Any] = {}
    deciders.pop("extra", None)
    for column, message in deciders.items():
        value, stored = message.claims[column], getattr(state, column)
        later = known_at is None or message.heard_at > known_at
        fills = message.kind is Kind.EVENT_LIFECYCLE and stored is None
        if message.dedupe_key in fresh and (later or fills) and value != stored:
            changes[column] = value
    return replace(state, **changes) if changes else state
