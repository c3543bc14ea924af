"""The exchange's read budget: a token bucket per caller."""

from collections.abc import Callable
from dataclasses import dataclass, field

DEFAULT_COST = 10
BURST_SECONDS = 2

ENDPOINT_COSTS: list[dict[str, str | int]] = [
    {"method": "DELETE", "path": "/trade-api/v2/portfolio/orders/{order_id}", "cost": 2},
    {"method": "DELETE", "path": "/trade-api/v2/portfolio/events/orders/{order_id}", "cost": 2},
]
"""Endpoints whose cost is not the default; all market data costs the default."""


@dataclass(slots=True)
class Bucket:
    """Refills at `rate` tokens a second up to two seconds' worth; starts full."""

    rate: float
    tokens: float
    filled_at: float

    def take(self, cost: float, now: float) -> bool:
        """Spend `cost` if it is there."""
        capacity = self.rate * BURST_SECONDS
        self.tokens = min(capacity, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True


@dataclass(slots=True)
class Budget:
    """One bucket per caller (a key, or everyone without one); a rate of 0 is no limit."""

    rate: float
    clock: Callable[[], float]
    costs: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    _buckets: dict[str, Bucket] = field(default_factory=dict)

    def allows(self, caller: str, route: str) -> bool:
        """Whether the caller may make this call now; spends its cost if so."""
        if not self.rate:
            return True
        now = self.clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = Bucket(self.rate, self.rate * BURST_SECONDS, now)
        if bucket.take(self.costs.get(route, DEFAULT_COST), now):
            return True
        self.refused += 1
        return False
