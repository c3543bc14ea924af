"""What one run spends of a read budget that all runs of a process share."""

import asyncio
from collections.abc import Mapping

from ssmd_kalshi.budget import Budget
from ssmd_kalshi.endpoints import Endpoint
from ssmd_kalshi.wire import EndpointCosts


class Meter(Budget):
    """Passes everything on to the shared budget and counts what its own run took."""

    def __init__(self, shared: Budget) -> None:  # the shared one has the bucket
        self._shared = shared
        self.requests = 0
        self.tokens = 0

    @property
    def tokens_per_second(self) -> float:
        return self._shared.tokens_per_second

    @property
    def costs(self) -> Mapping[str, int]:
        return self._shared.costs

    def cost(self, endpoint: Endpoint) -> int:
        return self._shared.cost(endpoint)

    def learn(self, costs: EndpointCosts) -> None:
        self._shared.learn(costs)

    async def acquire(self, endpoint: Endpoint, stop: asyncio.Event | None = None) -> int:
        cost = await self._shared.acquire(endpoint, stop)
        self.requests += 1
        self.tokens += cost
        return cost

    def spent(self, cost: int) -> None:
        self._shared.spent(cost)

    def throttled(self) -> None:
        self._shared.throttled()
