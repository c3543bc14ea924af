"""Asks REST for what messages leave open.

A new market's row is made from its message and lacks the rest of its fields; a message may be of a
market or an event that nobody has heard of. The exchange may not know a market yet just after it
announced it, so questions are repeated, ever less often, and given up after a while: the sync
service will see the market in any case, and the message itself is stored.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from ssmd_common.runtime import Runtime
from ssmd_kalshi.errors import InterruptedWaitError, TransientError
from ssmd_lifecycle import metrics
from ssmd_lifecycle.apply.effects import Outcome
from ssmd_lifecycle.apply.message_store import MessageStore
from ssmd_lifecycle.feed.messages import LifecycleMessage
from ssmd_lifecycle.repair.rest_upserter import RestUpserter, chunks
from ssmd_lifecycle.wake import Wake

log = structlog.get_logger(__name__)

DELAYS_SECONDS: Final = (0.05, 0.3, 0.7, 1.5, 3.0, 6.0, 15.0, 30.0, 60.0, 120.0, 300.0)
TOGETHER_SECONDS: Final = 0.25
"""Questions that are due within this time are asked together."""
MAX_WAITING: Final = 50_000
"""Open questions in memory at most; later ones are left to the sync service."""


@dataclass(slots=True)
class _Question:
    """A ticker to ask for, and the messages that wait for it."""

    due: float
    tries: int = 0
    messages: list[LifecycleMessage] = field(default_factory=list)


class Resolver:
    """Takes what recording left open."""

    def __init__(self, store: MessageStore, upserter: RestUpserter) -> None:
        self._store = store
        self._upserter = upserter
        self._markets: dict[str, _Question] = {}
        self._events: dict[str, _Question] = {}
        self._wake = Wake()

    def add(self, outcome: Outcome) -> None:
        """Ask for what this outcome left open."""
        for ticker in outcome.incomplete:
            self._add(self._markets, ticker)
        for ticker in outcome.incomplete_events:
            self._add(self._events, ticker)
        for message in outcome.unplaced:
            if message.event_ticker:
                self._add(self._events, message.event_ticker, message)
            if message.market_ticker:
                self._add(self._markets, message.market_ticker, message)
        self._count()

    @property
    def waiting(self) -> int:
        """Open questions."""
        return len(self._markets) + len(self._events)

    async def run(self, runtime: Runtime) -> None:
        """Ask, until the service stops."""
        while not runtime.stop.is_set():
            self._wake.clear()
            try:
                await self.ask()
            except InterruptedWaitError:
                return
            except TransientError as error:
                runtime.health.failed("resolve", error)
                log.warning("exchange cannot be asked", error=str(error))
                if await runtime.stopped_within(2.0):
                    return
            await self._sleep(runtime)

    def _add(
        self,
        questions: dict[str, _Question],
        ticker: str,
        message: LifecycleMessage | None = None,
    ) -> None:
        question = questions.get(ticker)
        if question is None:
            if self.waiting >= MAX_WAITING:
                metrics.ERRORS.labels("too_many_questions").inc()
                return
            question = questions[ticker] = _Question(self._due_after(DELAYS_SECONDS[0]))
        if message is not None and all(
            known.dedupe_key != message.dedupe_key for known in question.messages
        ):
            question.messages.append(message)
        self._wake.set()

    async def ask(self) -> None:
        """Ask for everything whose time has come: events before markets, which need them."""
        for questions, fetch in (
            (self._events, self._upserter.fetch_events),
            (self._markets, self._upserter.fetch_markets),
        ):
            for chunk in chunks(self._due(questions)):
                await self._answered(questions, chunk, await fetch(chunk))

    def _due(self, questions: dict[str, _Question]) -> list[str]:
        now = self._time()
        return sorted(ticker for ticker, question in questions.items() if question.due <= now)

    async def _answered(
        self, questions: dict[str, _Question], asked: Iterable[str], found: set[str]
    ) -> None:
        for ticker in asked:
            question = questions[ticker]
            placed = True
            if question.messages:
                outcome = await self._store.replay(question.messages, datetime.now(UTC))
                question.messages = outcome.unplaced
                placed = not outcome.unplaced
                for other in outcome.incomplete - {ticker}:
                    self._add(self._markets, other)
            if ticker in found and placed:
                del questions[ticker]
                continue
            question.tries += 1
            if question.tries >= len(DELAYS_SECONDS):
                metrics.ERRORS.labels("unresolved").inc()
                log.warning("the exchange does not know this ticker", ticker=ticker)
                del questions[ticker]
                continue
            question.due = self._due_after(DELAYS_SECONDS[question.tries])
        self._count()

    def _count(self) -> None:
        metrics.UNPLACED.set(
            sum(len(q.messages) for qs in (self._markets, self._events) for q in qs.values())
        )

    async def _sleep(self, runtime: Runtime) -> None:
        due = [q.due for qs in (self._markets, self._events) for q in qs.values()]
        seconds = min((max(0.0, at - self._time()) for at in due), default=3600.0)
        await self._wake.sleep(runtime, seconds)

    def _due_after(self, seconds: float) -> float:
        return math.ceil((self._time() + seconds) / TOGETHER_SECONDS) * TOGETHER_SECONDS

    @staticmethod
    def _time() -> float:
        return asyncio.get_running_loop().time()
