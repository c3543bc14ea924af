"""What fresh messages change in events and markets, inside a transaction that takes their locks."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ssmd_lifecycle.clock import Due, due, turned
from ssmd_lifecycle.intake import read_stored
from ssmd_lifecycle.messages import EVENT_KINDS, Kind, LifecycleMessage
from ssmd_lifecycle.rows import queries
from ssmd_lifecycle.transitions import advance, advance_event, born, differences
from ssmd_lifecycle.turns import row_of
from ssmd_store import log
from ssmd_store.messages import EVENTS, MARKETS, RowAppearedError
from ssmd_store.parents import Connection, add_series, recompute_events
from ssmd_store.states import EventState, MarketState


@dataclass(slots=True)
class Outcome:
    """What recording a batch did."""

    stored: int = 0
    duplicates: int = 0
    changed: int = 0
    transitions: Counter[str] = field(default_factory=Counter)
    """Changes of status by messages, by the status after."""
    turned: list[Due] = field(default_factory=list)
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
    parents = dict(await cursor.fetchall())
    for ticker, messages in of_markets.items():
        for message in messages:
            if ticker not in parents and message.kind is Kind.CREATED and message.event_ticker:
                parents[ticker] = message.event_ticker
    touched = sorted({*of_events, *parents.values()})
    await add_series(
        connection, {m.series_ticker for ms in of_events.values() for m in ms if m.series_ticker}
    )
    events = await EVENTS.lock(connection, touched)
    await _apply_to_events(connection, of_events, events, outcome)
    await _apply_to_markets(connection, of_markets, events, outcome, now)
    # A key that is there already: the exchange took the transition back and it came again.
    await log.insert(connection, [row_of(turn, now) for turn in outcome.turned])
    if outcome.transitions or outcome.turned:
        await recompute_events(connection, list(events))


async def _apply_to_events(
    connection: Connection,
    of_events: dict[str, list[LifecycleMessage]],
    events: dict[str, EventState],
    outcome: Outcome,
) -> None:
    """Apply event-level messages; `events` gains the new ones."""
    inserts: list[EventState] = []
    updates: list[dict[str, Any]] = []
    history = await _history(connection, queries.event_history, of_events, known=events)
    for ticker, messages in of_events.items():
        before = events.get(ticker)
        if before is None:
            series = next((m.series_ticker for m in history[ticker] if m.series_ticker), None)
            if series is None:
                # Nobody has said where it belongs: REST is asked.
                outcome.unplaced.extend(messages)
                continue
            extra = next((e for m in history[ticker] if (e := m.claims.get("extra"))), None)
            start = EventState(event_ticker=ticker, series_ticker=series, extra=extra)
            keys = {message.dedupe_key for message in history[ticker]}
            inserts.append(advance_event(start, keys, history[ticker]))
            events[ticker] = inserts[-1]
            outcome.incomplete_events.add(ticker)
            continue
        after = advance_event(before, {m.dedupe_key for m in messages}, history[ticker])
        if after is not before:
            updates.append({"event_ticker": ticker, **differences(before, after)})
            events[ticker] = after
    await EVENTS.insert(connection, inserts)
    await EVENTS.update(connection, updates)
    outcome.changed += len(inserts) + len(updates)


async def _apply_to_markets(
    connection: Connection,
    of_markets: dict[str, list[LifecycleMessage]],
    events: dict[str, EventState],
    outcome: Outcome,
    now: datetime,
) -> None:
    """Apply messages to their markets, whose events are locked."""
    markets = await MARKETS.lock(connection, list(of_markets))
    history = await _history(connection, queries.market_history, of_markets, known=markets)
    inserts: list[MarketState] = []
    updates: list[dict[str, Any]] = []
    for ticker, messages in of_markets.items():
        before = markets.get(ticker)
        keys = {message.dedupe_key for message in messages}
        if before is None:
            created = next((m for m in history[ticker] if m.kind is Kind.CREATED), None)
            parent = events.get(created.event_ticker or "") if created else None
            if created is None or parent is None:
                outcome.unplaced.extend(messages)
                continue
            start = born(created, parent.series_ticker)
            keys = {message.dedupe_key for message in history[ticker]}
            after = advance(start, keys, history[ticker], now)
            outcome.incomplete.add(ticker)
            outcome.transitions["created"] += 1
        else:
            if before.event_ticker not in events:
                raise RowAppearedError  # Moved to another event since it was located.
            after = advance(before, keys, history[ticker], now)
            if after is before:
                continue
            if after.status != before.status:
                outcome.transitions[after.status] += 1
        if before is not None and before.deleted_at != after.deleted_at:
            outcome.transitions["returned"] += 1
        # What is due already turns at once: nobody sees a market that is listed as due and waits.
        while chance := due(after, now):
            outcome.turned.append(chance)
            after = turned(after, chance.turn, now)
        if before is None:
            inserts.append(after)
        else:
            updates.append({"ticker": ticker, **differences(before, after)})
        if after.exchange_status in ("determined", "finalized") and after.result is None:
            outcome.incomplete.add(ticker)
    await MARKETS.insert(connection, inserts)
    await MARKETS.update(connection, updates)
    outcome.changed += len(inserts) + len(updates)


async def _history(
    connection: Connection,
    query: Any,
    fresh: dict[str, list[LifecycleMessage]],
    *,
    known: dict[str, Any],
) -> dict[str, list[LifecycleMessage]]:
    """Each ticker's fresh messages, and of the stored ones those that may outweigh them: sent at
    the same time or later; all of them where no row exists yet."""
    if not fresh:
        return {}
    tickers = list(fresh)
    since = [min(m.heard_at for m in fresh[t]) if t in known else None for t in tickers]
    history = {ticker: list(messages) for ticker, messages in fresh.items()}
    keys = {message.dedupe_key for messages in fresh.values() for message in messages}
    cursor = await connection.execute(query, {"tickers": tickers, "since": since})
    for ticker, metadata, sent_at, received_at, key in await cursor.fetchall():
        if key not in keys and (
            message := read_stored(metadata.encode(), sent_at, received_at, key)
        ):
            history[ticker].append(message)
    for messages in history.values():
        messages.sort(key=lambda message: message.order)
    return history
