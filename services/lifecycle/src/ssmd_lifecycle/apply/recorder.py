"""The loop that keeps and applies messages, batch by batch."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from ssmd_common.runtime import Runtime
from ssmd_lifecycle import metrics
from ssmd_lifecycle.apply.effects import Outcome
from ssmd_lifecycle.apply.message_store import MessageStore
from ssmd_lifecycle.apply.resolver import Resolver
from ssmd_lifecycle.clock.timed_store import count_timed
from ssmd_lifecycle.feed.inbox import Inbox
from ssmd_lifecycle.feed.messages import Kind, LifecycleMessage
from ssmd_lifecycle.filter import FilterFile
from ssmd_store.refusals import REFUSED

log = structlog.get_logger(__name__)


MAX_LEFT_OUT: Final = 200_000
"""Markets and events outside the filter that are remembered, with their series."""


class Recorder:
    """Takes messages from the inbox, and hands what they leave open to the resolver."""

    def __init__(
        self,
        inbox: Inbox,
        store: MessageStore,
        resolver: Resolver,
        filter_file: FilterFile,
        *,
        batch_messages: int,
    ) -> None:
        self._inbox = inbox
        self._store = store
        self._resolver = resolver
        self._filter = filter_file
        self._batch_messages = batch_messages
        self.busy_since: float | None = None
        """Since when a batch is on its way, in the event loop's time."""
        self._left_out: dict[str, tuple[str, str | None]] = {}

    async def run(self, runtime: Runtime) -> None:
        """Record until the service stops, then what is left in the inbox."""
        while not runtime.stop.is_set():
            batch = await runtime.until_stop(self._inbox.take(self._batch_messages))
            if batch is not None:
                self.busy_since = asyncio.get_running_loop().time()
                await self.record(batch)
                self._inbox.done()
                runtime.health.position |= {
                    "last_message_at": batch[-1].received_at,
                    "last_committed_at": datetime.now(UTC),
                }
                self.busy_since = None
        left = len(self._inbox)
        while left > 0 and (batch := self._inbox.take_now(self._batch_messages)):
            await self.record(batch)
            left -= len(batch)

    async def recall(self, remembered: Sequence[LifecycleMessage]) -> None:
        """Record what was heard on standby and the former leader did not store."""
        missing = await self._store.missing_of(remembered)
        if missing:
            log.info("messages of the former leader's end recorded", messages=len(missing))
        for start in range(0, len(missing), self._batch_messages):
            await self.record(missing[start : start + self._batch_messages])

    async def record(self, batch: Sequence[LifecycleMessage]) -> None:
        """Keep and apply one batch."""
        followed = await self._followed(batch)
        if not followed:
            return
        try:
            outcome = await self._store.record(followed, datetime.now(UTC))
        except REFUSED:
            await self._one_by_one(followed)
            return
        self._done(followed, outcome)

    async def _one_by_one(self, batch: Sequence[LifecycleMessage]) -> None:
        """Keep a batch with a message in it that PostgreSQL does not take as it is: without its
        effects, which REST is asked for, or else as text."""
        for message in batch:
            try:
                outcome = await self._store.record([message], datetime.now(UTC))
            except REFUSED as error:
                outcome = await self._kept_only(message, error)
            self._done([message], outcome)

    async def _kept_only(self, message: LifecycleMessage, error: Exception) -> Outcome:
        metrics.ERRORS.labels("message_not_applicable").inc()
        log.warning(
            "message kept, its market or event is asked for",
            ticker=message.ticker,
            error=str(error).strip(),
        )
        try:
            outcome = await self._store.record([replace(message, applies=False)], datetime.now(UTC))
        except REFUSED as worse:
            metrics.UNKNOWN.inc()
            metrics.ERRORS.labels("message_not_storable").inc()
            log.warning("message kept as text only", ticker=message.ticker, error=str(worse))
            return await self._store.record([as_text(message)], datetime.now(UTC))
        if message.market_ticker is not None:
            outcome.incomplete.add(message.market_ticker)
        elif message.event_ticker is not None:
            outcome.incomplete_events.add(message.event_ticker)
        return outcome

    def _done(self, batch: Sequence[LifecycleMessage], outcome: Outcome) -> None:
        now = datetime.now(UTC)
        for message in batch:
            metrics.RECEIVE_TO_COMMIT.observe((now - message.received_at).total_seconds())
            if message.sent_at is not None:
                metrics.SENT_TO_COMMIT.observe(max(0.0, (now - message.sent_at).total_seconds()))
        metrics.LAG_SECONDS.set((now - batch[0].received_at).total_seconds())
        metrics.WORK.inc(outcome.stored)
        metrics.DUPLICATES.inc(outcome.duplicates)
        for status, count in outcome.transitions.items():
            metrics.TRANSITIONS.labels("ws", status).inc(count)
        count_timed(outcome.timed, now)
        self._resolver.add(outcome)

    async def _followed(self, batch: Sequence[LifecycleMessage]) -> Sequence[LifecycleMessage]:
        """Without what the series filter leaves out."""
        chosen = self._filter.current
        if chosen.is_empty:
            return batch
        markets, events = await self._store.places(batch)
        followed = []
        for message in batch:
            market, event = message.market_ticker or "", message.event_ticker or ""
            series, category = (
                markets.get(market)
                or events.get(event)
                or self._left_out.get(market)
                or self._left_out.get(event)
                or (message.series_ticker, None)
            )
            if chosen.passes(series, category):
                followed.append(message)
                continue
            metrics.FILTERED.inc()
            # No row will say whose market this is when its next message comes.
            if series is not None and len(self._left_out) < MAX_LEFT_OUT:
                self._left_out[market or event] = (series, category)
        return followed


def as_text(message: LifecycleMessage) -> LifecycleMessage:
    """A message whose values PostgreSQL cannot hold: its text is kept, nothing is applied."""
    whole = msgspec.json.encode({"unreadable": message.whole.replace("\x00", "")}).decode()
    return replace(
        message,
        kind=Kind.UNKNOWN,
        whole=whole.replace("\\u0000", ""),
        columns={},
        times={},
        applies=False,
    )
