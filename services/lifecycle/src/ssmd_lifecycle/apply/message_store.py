"""Messages into PostgreSQL: each batch's rows and what they change, in one transaction. All that is
read for messages beside that transaction is read here, too."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ssmd_common.models import LifecycleRow
from ssmd_lifecycle.apply.effects import Outcome, apply, stored_messages
from ssmd_lifecycle.feed.messages import LifecycleMessage
from ssmd_lifecycle.feed.parser import content_key_of
from ssmd_lifecycle.transactions import Pool, in_transaction, queries
from ssmd_store import log
from ssmd_store.parents import Connection

Places = dict[str, tuple[str, str | None]]
"""Ticker → its series and category."""


LATE: Final = timedelta(seconds=2)
"""What comes later than this REST may have reported before (less than `repair.backfill.GRACE`)."""
SAME_MESSAGE: Final = timedelta(seconds=5)


class MessageStore:
    """The tables as the recorder sees them; every method is one transaction, tried again where
    another writer was in the way."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(self, messages: Sequence[LifecycleMessage], now: datetime) -> Outcome:
        """Keep the messages that are not stored yet and apply them."""

        async def attempt(connection: Connection) -> Outcome:
            fresh = await _keep(connection, messages, now)
            outcome = Outcome(stored=len(fresh), duplicates=len(messages) - len(fresh))
            await apply(connection, fresh, outcome, now)
            return outcome

        return await in_transaction(self._pool, attempt)

    async def replay(self, messages: Sequence[LifecycleMessage], now: datetime) -> Outcome:
        """Apply stored messages that had no row to be applied to."""

        async def attempt(connection: Connection) -> Outcome:
            outcome = Outcome()
            await apply(connection, messages, outcome, now)
            return outcome

        return await in_transaction(self._pool, attempt)

    async def missing_of(self, messages: Sequence[LifecycleMessage]) -> list[LifecycleMessage]:
        """Those of some messages that are not stored.

        They were heard over another connection than the stored ones, and the exchange may stamp
        `sending_ts_ms` for each connection anew: the same body about the same time is the same
        message, each stored one for one of these.
        """
        # One that came twice over that connection must not be paired with two stored ones.
        messages = list({message.dedupe_key: message for message in messages}.values())
        by_ticker: defaultdict[str, list[LifecycleMessage]] = defaultdict(list)
        for message in messages:
            by_ticker[message.ticker or ""].append(message)
        stored: dict[str, list[LifecycleMessage]] = {}
        async with self._pool.connection() as connection:
            for query, kind in (
                (queries.market_history, "market_ticker"),
                (queries.event_history, "event_ticker"),
            ):
                tickers = [t for t in by_ticker if t and getattr(by_ticker[t][0], kind) == t]
                since = [min(m.heard_at for m in by_ticker[t]) - SAME_MESSAGE for t in tickers]
                for ticker, found in await stored_messages(connection, query, tickers, since):
                    stored.setdefault(ticker, []).append(found)
        return [m for m in messages if not _taken(m, stored.get(m.ticker or "", []))]

    async def places(self, messages: Sequence[LifecycleMessage]) -> tuple[Places, Places]:
        """The series and category of the messages' known markets, and of their known events."""
        found: list[Places] = []
        async with self._pool.connection() as connection:
            for query, tickers in (
                (queries.categories, [m.market_ticker for m in messages if m.market_ticker]),
                (queries.event_categories, [m.event_ticker for m in messages if m.event_ticker]),
            ):
                cursor = await connection.execute(query, [tickers])
                found.append({row[0]: (row[1], row[2]) for row in await cursor.fetchall()})
        return found[0], found[1]


def _taken(message: LifecycleMessage, stored: list[LifecycleMessage]) -> bool:
    """Whether one of the stored messages is this one; it then stands for no other."""
    for candidate in stored:
        near = abs(candidate.heard_at - message.heard_at) <= SAME_MESSAGE
        if near and candidate.content_key == message.content_key:
            stored.remove(candidate)
            return True
    return False


async def _keep(
    connection: Connection, messages: Sequence[LifecycleMessage], now: datetime
) -> list[LifecycleMessage]:
    """Insert the messages' rows; those that are new, in their order."""
    messages = await _without_repeats(connection, messages)
    rows = [_row(message) for message in messages]
    late = [r for m, r in zip(messages, rows, strict=True) if now - m.heard_at > LATE]
    fresh_keys = await log.replace_backfilled(connection, late)
    fresh_keys |= await log.insert(connection, rows)
    seen: set[str] = set()
    fresh = []
    for message in messages:
        if message.dedupe_key in fresh_keys and message.dedupe_key not in seen:
            seen.add(message.dedupe_key)
            fresh.append(message)
    return fresh


def _row(message: LifecycleMessage) -> LifecycleRow:
    return LifecycleRow(
        market_ticker=message.market_ticker,
        event_ticker=message.event_ticker,
        event_type=message.event_type,
        result=message.columns.get("result"),
        metadata=msgspec.Raw(message.whole.encode()),
        sent_at=message.sent_at,
        received_at=message.received_at,
        dedupe_key=message.dedupe_key,
        **message.times,
    )


async def _without_repeats(
    connection: Connection, messages: Sequence[LifecycleMessage]
) -> Sequence[LifecycleMessage]:
    """Without those that bear no time and repeat the last message of their ticker."""
    timeless = {m.ticker for m in messages if m.sent_at is None and m.ticker is not None}
    if not timeless:
        return messages
    cursor = await connection.execute(queries.last_messages, {"tickers": list(timeless)})
    last = {ticker: content_key_of(metadata) for ticker, metadata in await cursor.fetchall()}
    kept = []
    for message in messages:
        if message.sent_at is None and last.get(message.ticker) == message.content_key:
            continue
        last[message.ticker] = message.content_key
        kept.append(message)
    return kept
