"""What messages make of a market and of an event. Pure: `now` is an argument.

`advance` takes a market through three steps:

1. Each column becomes what the last message that names it says, unless REST knew of that message.
2. `exchange_status` becomes what the table `EXCHANGE_STATUS` says.
3. `status` follows from it, and from what the clock did: opening and closing in time are its own
   (`ssmd_lifecycle.clock`), and a close that moves into the future takes back a closing of it.

So late, repeated and reordered messages end in the same row as the right order. `ssmd_store.rules`
has the rules in words, beside those for REST and the clock.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, TypeVar

from ssmd_common.status import FROM_EXCHANGE, MarketStatus
from ssmd_lifecycle.feed.messages import Kind, LifecycleMessage
from ssmd_store.rules import REST_LAG, STAMPED_AHEAD
from ssmd_store.states import EventState, MarketState

TRADING: Final = frozenset({"initialized", "active", "inactive"})
DETERMINED: Final = frozenset({"determined", "disputed", "amended"})


class If(Enum):
    """When a message counts against what is stored: `_sent_after` has the moments."""

    ALWAYS = "always"
    NEW_TO_REST = "unless REST reported what is stored, and was asked so late that it knew of it"
    AFTER_REST = "if REST reported what is stored, and may not have known of it"
    AFTER_ROW = "if it was sent after the stored version was observed"
    NEVER = "never"


class Becomes(NamedTuple):
    """What `exchange_status` becomes by a message, where the market is stored as …"""

    rank: int
    """Of fresh messages those with the highest count, and of these only the last one."""
    exchange_status: str
    trading: If
    closed: If
    determined: If
    settled: If


EXCHANGE_STATUS: Final = {
    # message: becomes              if trading      if closed     if determined  if settled
    Kind.SETTLED:
        Becomes(3, "finalized",  If.ALWAYS,      If.ALWAYS,    If.ALWAYS,     If.NEVER),
    # A dispute or an amendment has no message: only a later determination ends it.
    Kind.DETERMINED:
        Becomes(2, "determined", If.ALWAYS,      If.ALWAYS,    If.AFTER_REST, If.NEVER),
    # What the exchange itself closed reopens by what it sent later.
    Kind.ACTIVATED:
        Becomes(1, "active",     If.NEW_TO_REST, If.AFTER_ROW, If.NEVER,      If.NEVER),
    Kind.DEACTIVATED:
        Becomes(1, "inactive",   If.NEW_TO_REST, If.NEVER,     If.NEVER,      If.NEVER),
}  # fmt: skip
"""All other kinds leave `exchange_status`; a market that is new is `initialized`."""

FILLED: Final = frozenset({"result", "settlement_value_dollars", "settled_time"})
"""Columns that a message fills in even if REST knew of it; all others are `If.NEW_TO_REST`."""

_NEVER: Final = datetime.max.replace(tzinfo=UTC)

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
        extra=created.columns.get("extra") or None,
    )


def advance(
    state: MarketState,
    fresh: Collection[str],
    history: Iterable[LifecycleMessage],
    now: datetime,
) -> MarketState:
    """The market after its fresh messages; the same object where they change nothing.

    `history` is every stored message of the market that may outweigh the fresh ones, and these
    themselves, in any order; `fresh` the dedupe keys of those that have not been applied.
    """
    ordered = _ordered(history)
    new = [message for message in ordered if message.dedupe_key in fresh]
    if not new:
        return state
    before = state
    if state.observed_at is not None and state.observed_at > now + STAMPED_AHEAD:
        state = replace(state, observed_at=None)
    rest_at = _sent_after(If.NEW_TO_REST, state)
    changes: dict[str, Any] = {
        column: message.columns[column]
        for column, message in _deciders(ordered, fresh).items()
        if rest_at is None
        or message.heard_at > rest_at
        or (column in FILLED and getattr(state, column) is None)
    }
    if state.deleted_at is not None and any(
        m.kind is Kind.CREATED and m.heard_at > state.deleted_at for m in new
    ):
        changes["deleted_at"] = None
    moved = replace(state, exchange_status=_exchange_status(state, ordered, fresh), **changes)
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


def _ordered(history: Iterable[LifecycleMessage]) -> list[LifecycleMessage]:
    return sorted((m for m in history if m.applies), key=lambda message: message.order)


def _deciders(
    ordered: Sequence[LifecycleMessage], fresh: Collection[str]
) -> dict[str, LifecycleMessage]:
    """The last message to name each column, where it is fresh. `extra` is of new rows only."""
    last = {column: message for message in ordered for column in message.columns}
    last.pop("extra", None)
    return {column: message for column, message in last.items() if message.dedupe_key in fresh}


def _sent_after(condition: If, stored: MarketState) -> datetime | None:
    """The moment after which a message must have been sent to count; None for any time."""
    observed_at = stored.observed_at
    rest_at = observed_at and observed_at - REST_LAG if stored.observed_via == "rest" else None
    match condition:
        case If.ALWAYS:
            return None
        case If.NEW_TO_REST:
            return rest_at
        case If.AFTER_REST:
            return rest_at or _NEVER
        case If.AFTER_ROW:
            return observed_at or _NEVER
        case If.NEVER:
            return _NEVER


def _exchange_status(
    state: MarketState, ordered: Sequence[LifecycleMessage], fresh: Collection[str]
) -> str | None:
    """`exchange_status` after the fresh messages, by the table."""
    named = [(by, message) for message in ordered if (by := EXCHANGE_STATUS.get(message.kind))]
    rank = max((by.rank for by, message in named if message.dedupe_key in fresh), default=None)
    for becomes, last in [each for each in named if each[0].rank == rank][-1:]:
        sent_after = _sent_after(getattr(becomes, _stored(state)), state)
        counts = sent_after is None or last.heard_at > sent_after
        if counts and last.dedupe_key in fresh:
            return becomes.exchange_status
    return state.exchange_status


def _stored(state: MarketState) -> Literal["trading", "closed", "determined", "settled"]:
    """The column of the table. What only the clock closed still trades."""
    if state.status == MarketStatus.SETTLED:
        return "settled"
    if state.exchange_status in DETERMINED:
        return "determined"
    if state.status == MarketStatus.CLOSED and state.exchange_status not in TRADING:
        return "closed"
    return "trading"


def _status(market: MarketState, now: datetime) -> str:
    """The status that follows from `exchange_status`, and from what the clock did already."""
    exchange_status, status = market.exchange_status, market.status
    if exchange_status not in TRADING:
        return FROM_EXCHANGE.get(exchange_status or "", status)
    if status == MarketStatus.SETTLED:
        return status
    if status == MarketStatus.CLOSED and (market.close_time is None or market.close_time <= now):
        return status
    if exchange_status == "initialized" and status != MarketStatus.OPEN:
        opened = market.open_time is None or market.open_time <= now
        return MarketStatus.ACTIVE if opened else MarketStatus.OPEN
    return FROM_EXCHANGE[exchange_status]


def differences(before: S, after: S) -> dict[str, Any]:
    """The columns that differ, with their values after."""
    return {
        name: getattr(after, name)
        for name in type(before).__slots__
        if getattr(before, name) != getattr(after, name)
    }


def advance_event(
    state: EventState, fresh: Collection[str], history: Iterable[LifecycleMessage]
) -> EventState:
    """The event after its fresh messages; the same object where they change nothing.

    The last message that names a column decides it, unless REST has seen a later version of the
    event; what the row does not have, an announcement fills in any case.
    """
    changed_at = state.exchange_updated_at
    changes: dict[str, Any] = {}
    for column, message in _deciders(_ordered(history), fresh).items():
        value, stored = message.columns[column], getattr(state, column)
        later = changed_at is None or message.heard_at > changed_at
        fills = message.kind is Kind.EVENT_LIFECYCLE and stored is None
        if (later or fills) and value != stored:
            changes[column] = value
    return replace(state, **changes) if changes else state
