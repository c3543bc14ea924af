"""The read budget: a token bucket that all tasks of a process share, first come first served.

The exchange gives each key (or address) a bucket: Basic 200 tokens a second, two seconds deep; most
calls cost 10. Exceeding it is a 429 without a Retry-After. So the client keeps a bucket of its own
that never holds more than the exchange's: what a call costs is reserved when it is sent and leaves
the bucket when its reply is there, because requests sent evenly may arrive in a bunch, and a full
bucket forgets what flows over.

Others may use the same key, so the bucket adapts: a 429 halves the rate (once per second, however
many requests it hit), every second without one gives back a twentieth of the nominal rate.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from ssmd_kalshi import metrics
from ssmd_kalshi.endpoints import DEFAULT_COST, Endpoint, by_route
from ssmd_kalshi.errors import ConfigurationError
from ssmd_kalshi.retry import pause
from ssmd_kalshi.wire import EndpointCosts

BASIC_TOKENS_PER_SECOND = 200.0
BURST_SECONDS = 2.0
MARGIN = 0.995
"""Part of the rate that is used: two clocks never run alike."""
DECREASE = 0.5
DECREASE_COOLDOWN_SECONDS = 1.0
INCREASE_PER_SECOND = 0.05
FLOOR = 0.05


class Bucket:
    """The arithmetic, without a clock: `now` is monotonic seconds and never goes back."""

    __slots__ = ("_cut_at", "_now", "burst_seconds", "nominal", "rate", "reserved", "tokens")

    def __init__(self, tokens_per_second: float, burst_seconds: float, now: float) -> None:
        self.nominal = tokens_per_second
        self.rate = tokens_per_second
        self.burst_seconds = burst_seconds
        self.tokens = self.capacity
        self.reserved = 0.0
        self._now = now
        self._cut_at: float | None = None

    @property
    def capacity(self) -> float:
        return self.rate * self.burst_seconds

    def take(self, cost: float, now: float) -> float:
        """0 when the cost was reserved, else the seconds after which to ask again.

        A call that costs more than the bucket holds is let through when the bucket is full and
        nothing is under way, and leaves a debt.
        """
        self._advance(now)
        missing = min(cost, self.capacity) + self.reserved - self.tokens
        # Rounding may leave a billionth of a token missing for ever.
        if missing > 1e-6:
            return missing / self.rate
        self.reserved += cost
        return 0.0

    def spend(self, cost: float, now: float) -> None:
        """A call is over, whatever became of it: its cost has left the exchange's bucket by now."""
        self._advance(now)
        self.reserved -= cost
        self.tokens -= cost

    def throttled(self, now: float) -> None:
        """The exchange answered 429: its bucket is empty, and ours was too generous."""
        self._advance(now)
        self.tokens = min(self.tokens, 0.0)
        if self._cut_at is None or now - self._cut_at >= DECREASE_COOLDOWN_SECONDS:
            self._cut_at = now
            self.rate = max(self.rate * DECREASE, self.nominal * FLOOR)

    def _advance(self, now: float) -> None:
        elapsed = max(0.0, now - self._now)
        self._now = max(self._now, now)
        if self.rate < self.nominal:
            self.rate = min(self.nominal, self.rate + self.nominal * INCREASE_PER_SECOND * elapsed)
        self.tokens = min(self.capacity, self.tokens + elapsed * self.rate)


class Budget:
    """What a process may ask of the exchange. Share one instance between all clients of a key."""

    def __init__(
        self,
        tokens_per_second: float = BASIC_TOKENS_PER_SECOND,
        *,
        burst_seconds: float = BURST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not tokens_per_second > 0:
            raise ConfigurationError(
                f"the read budget is {tokens_per_second:g} tokens per second: "
                "give KALSHI_READ_BUDGET the rate of your tier (Basic is 200)"
            )
        self._clock = clock
        self._bucket = Bucket(tokens_per_second * MARGIN, burst_seconds, clock())
        # asyncio.Lock wakes its waiters in the order in which they came, and passes over a waiter
        # that was cancelled.
        self._turn = asyncio.Lock()
        self._default_cost = DEFAULT_COST
        self.refusals = 0
        """429 so far."""
        self._costs: dict[str, int] = {}
        metrics.BUDGET_RATE.set(self._bucket.rate)

    @property
    def tokens_per_second(self) -> float:
        """The rate in force now, at most the nominal one."""
        return self._bucket.rate

    @property
    def costs(self) -> Mapping[str, int]:
        """Endpoints (by name) whose cost is not the default."""
        return self._costs

    def cost(self, endpoint: Endpoint) -> int:
        return self._costs.get(endpoint.name, self._default_cost)

    def learn(self, costs: EndpointCosts) -> None:
        """Take over the exchange's own list of costs."""
        self._default_cost = max(0, costs.default_cost)
        self._costs = {
            endpoint.name: max(0, row.cost)
            for row in costs.endpoint_costs or ()
            if (endpoint := by_route(row.method, row.path)) is not None
        }

    async def acquire(self, endpoint: Endpoint, stop: asyncio.Event | None = None) -> int:
        """Wait for a turn, in the order of asking; the cost, to be `settled` when the call is over.

        InterruptedWaitError when `stop` is set.
        """
        cost = self.cost(endpoint)
        began = self._clock()
        async with self._turn:
            while (wait := self._bucket.take(cost, self._clock())) > 0:
                await pause(wait, stop)
        metrics.TOKENS.inc(cost)
        metrics.BUDGET_RATE.set(self._bucket.rate)
        if (waited := self._clock() - began) > 0:
            metrics.BUDGET_WAIT_SECONDS.inc(waited)
        return cost

    def spent(self, cost: int) -> None:
        """A call that was let through is over: answered, failed or cancelled."""
        self._bucket.spend(cost, self._clock())

    def throttled(self) -> None:
        """Report a 429."""
        self.refusals += 1
        self._bucket.throttled(self._clock())
        metrics.BUDGET_RATE.set(self._bucket.rate)
