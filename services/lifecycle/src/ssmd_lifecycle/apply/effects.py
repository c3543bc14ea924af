"""What fresh messages change in events and markets, inside the transaction that keeps them.

`apply` brings the rows up to date in the one order of locks: the messages' series are added, their
events are locked and written, then their markets, then the events' status follows from these. Each
row is what `transitions` makes of it from its fresh messages, and from those stored ones that may
outweigh them: sent at the same time or later, or all where the row is new.

What the messages leave open is in `Outcome`: those without a row to be applied to (`unplaced`),
and rows that lack what only REST knows (`incomplete`). What is due by the clock already is made at
once: nobody sees a market that is listed as due and waits.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString

from ssmd_lifecycle.apply.transitions import advance, advance_event, born, differences
from ssmd_lifecycle.clock.timed import TimedTransition, after, due
from ssmd_lifecycle.feed.messages import EVENT_KINDS, Kind, LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_stored
from ssmd_lifecycle.transactions import queries
from ssmd_store import log
from ssmd_store.messages import EVENTS, MARKETS, RowAppearedError
from ssmd_store.parents import Connection, add_series, recompute_events
from ssmd_store.states import EventState, MarketState

ByTicker = dict[str, list[LifecycleMessage]]


@dataclass(slots=True)
class Outcome:
    """What recording a batch did."""

    stored: int = 0
    duplicates: int = 0
    transitions: Counter[str] = field(default_factory=Counter)
    """Changes of status by messages, by the status after."""
    timed: list[TimedTransition] = field(default_factory=list)
    """What was due already when its message came, and the clock made in the same transaction."""
    unplaced: list[LifecycleMessage] = field(default_factory=list)
    """Stored, but of a market or an event that no row exists of yet."""
    incomplete: set[str] = field(default_factory=set)
    """Markets that were made from a message, or settled without a known result: ask REST."""
    incomplete_events: set[str] = field(default_factory=set)


async def apply(
    connection: Connection,
    fresh: Sequence[LifecycleMessage],
    outcome: Outcome,
    now: datetime,
) -> None:
    """Apply messages whose rows this transaction keeps or has found, and fill in `outcome`."""
    of_markets: defaultdict[str, list[LifecycleMessage]] = defaultdict(list)
    of_events: defaultdict[str, list[LifecycleMessage]] = defaultdict(list)
    for message in fresh:
        if not message.applies:
            continue
        if message.kind in EVENT_KINDS and message.event_ticker:
            of_events[message.event_ticker].append(message)
        elif message.market_ticker:
            of_markets[message.market_ticker].append(message)
    if not of_markets and not of_events:
        return
    cursor = await connection.execute(queries.locate_markets, [list(of_markets)])
    located = dict(await cursor.fetchall())
    named = {m.event_ticker for ms in of_markets.values() for m in ms if m.kind is Kind.CREATED}
    series = {m.series_ticker for messages in of_events.values() for m in messages}
    await add_series(connection, {ticker for ticker in series if ticker})
    events = await EVENTS.lock(connection, sorted({*of_events, *located.values(), *named} - {None}))
    await _apply_to_events(connection, of_events, events, outcome)
    await _apply_to_markets(connection, of_markets, events, outcome, now)
    # A key that is there already: the exchange took the transition back and it came again.
    await log.insert(connection, [transition.row(now) for transition in outcome.timed])
    if outcome.transitions or outcome.timed:
        await recompute_events(connection, list(events))


async def _apply_to_events(
    connection: Connection, fresh: ByTicker, events: dict[str, EventState], outcome: Outcome
) -> None:
    """Apply event-level messages; `events`, which are locked, gains the new ones."""
    inserts: list[EventState] = []
    updates: list[dict[str, Any]] = []
    history = await _history(connection, queries.event_history, fresh, known=events)
    for ticker, messages in fresh.items():
        before = events.get(ticker)
        if before is not None:
            row = advance_event(before, {m.dedupe_key for m in messages}, history[ticker])
            if row is before:
                continue
            updates.append({"event_ticker": ticker, **differences(before, row)})
        elif series := next((m.series_ticker for m in history[ticker] if m.series_ticker), None):
            extra = next((e for m in history[ticker] if (e := m.columns.get("extra"))), None)
            start = EventState(event_ticker=ticker, series_ticker=series, extra=extra)
            row = advance_event(start, {m.dedupe_key for m in history[ticker]}, history[ticker])
            inserts.append(row)
            outcome.incomplete_events.add(ticker)
        else:
            # No message says where it belongs: REST is asked.
            outcome.unplaced.extend(messages)
            continue
        events[ticker] = row
    await EVENTS.insert(connection, inserts)
    await EVENTS.update(connection, updates)


async def _apply_to_markets(
    connection: Connection,
    fresh: ByTicker,
    events: dict[str, EventState],
    outcome: Outcome,
    now: datetime,
) -> None:
    """Apply messages to their markets, whose events are locked."""
    markets = await MARKETS.lock(connection, list(fresh))
    inserts: list[MarketState] = []
    updates: list[dict[str, Any]] = []
    history = await _history(connection, queries.market_history, fresh, known=markets)
    for ticker, messages in fresh.items():
        before = markets.get(ticker)
        if before is None:
            created = next((m for m in history[ticker] if m.kind is Kind.CREATED), None)
            parent = events.get(created.event_ticker or "") if created else None
            if created is None or parent is None:
                outcome.unplaced.extend(messages)
                continue
            keys = {m.dedupe_key for m in history[ticker]}
            row = advance(born(created, parent.series_ticker), keys, history[ticker], now)
            outcome.incomplete.add(ticker)
            outcome.transitions["created"] += 1
        else:
            if before.event_ticker not in events:
                raise RowAppearedError  # Moved to another event since it was located.
            row = advance(before, {m.dedupe_key for m in messages}, history[ticker], now)
            if row is before:
                continue
            if row.status != before.status:
                outcome.transitions[row.status] += 1
            if row.deleted_at != before.deleted_at:
                outcome.transitions["returned"] += 1
        while transition := due(row, now):
            outcome.timed.append(transition)
            row = after(row, transition.kind, now)
        if before is None:
            inserts.append(row)
        else:
            updates.append({"ticker": ticker, **differences(before, row)})
        if row.exchange_status in ("determined", "finalized") and row.result is None:
            outcome.incomplete.add(ticker)
    await MARKETS.insert(connection, inserts)
    await MARKETS.update(connection, updates)


async def _history(
    connection: Connection, query: LiteralString, fresh: ByTicker, *, known: dict[str, Any]
) -> ByTicker:
    """Each ticker's fresh messages and those stored ones that may outweigh them, in their order."""
    if not fresh:
        return {}
    tickers = list(fresh)
    since = [min(m.heard_at for m in fresh[t]) if t in known else None for t in tickers]
    history = {ticker: list(messages) for ticker, messages in fresh.items()}
    keys = {message.dedupe_key for messages in fresh.values() for message in messages}
    for ticker, message in await stored_messages(connection, query, tickers, since, but=keys):
        history[ticker].append(message)
    for messages in history.values():
        messages.sort(key=lambda message: message.order)
    return history


async def stored_messages(
    connection: Connection,
    query: LiteralString,
    tickers: Sequence[str],
    since: Sequence[datetime | None],
    *,
    but: Collection[str] = (),
) -> list[tuple[str, LifecycleMessage]]:
    """What is stored of each ticker since a time, without those with the dedupe keys `but`."""
    cursor = await connection.execute(query, {"tickers": list(tickers), "since": list(since)})
    return [
        (ticker, message)
        for ticker, metadata, sent_at, received_at, key in await cursor.fetchall()
        if key not in but
        and (message := parse_stored(metadata.encode(), sent_at, received_at, key))
    ]
