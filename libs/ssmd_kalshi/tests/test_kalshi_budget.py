"""The token bucket and its adaptation."""

import asyncio
import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_kalshi import endpoints
from ssmd_kalshi.budget import MARGIN, Bucket, Budget
from ssmd_kalshi.endpoints import by_route
from ssmd_kalshi.errors import ConfigurationError, InterruptedWaitError
from ssmd_kalshi.wire import EndpointCost, EndpointCosts


class Clock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    async def pause(seconds: float, stop: asyncio.Event | None = None) -> None:
        if stop is not None and stop.is_set():
            raise InterruptedWaitError("stopped")
        clock.now += seconds
        await asyncio.sleep(0)

    monkeypatch.setattr("ssmd_kalshi.budget.pause", pause)
    return clock


def spend(bucket: Bucket, cost: float, now: float) -> bool:
    """A call that is answered at once."""
    if bucket.take(cost, now) > 0:
        return False
    bucket.spend(cost, now)
    return True


def test_burst_of_two_seconds_then_the_rate() -> None:
    bucket = Bucket(200, 2.0, now=0)
    for _ in range(40):
        assert spend(bucket, 10, now=0)
    assert bucket.take(10, now=0) == pytest.approx(0.05)
    assert spend(bucket, 10, now=0.05)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(200, 2.0, now=0)
    assert sum(spend(bucket, 10, now=1000) for _ in range(100)) == 40


def test_calls_under_way_are_reserved() -> None:
    bucket = Bucket(200, 2.0, now=0)
    assert sum(bucket.take(10, now=0) == 0 for _ in range(100)) == 40
    # Nobody knows yet that they arrived: the exchange's bucket may still be full, and overflowing.
    assert bucket.take(10, now=5) > 0
    bucket.spend(10, now=5)
    assert bucket.take(10, now=5) > 0
    assert bucket.take(10, now=5.05) == 0


def test_a_call_larger_than_the_bucket_leaves_a_debt() -> None:
    bucket = Bucket(10, 2.0, now=0)
    assert spend(bucket, 100, now=0)
    assert bucket.take(10, now=0) == pytest.approx(9.0)


def test_429_halves_once_per_second_and_recovers() -> None:
    bucket = Bucket(200, 2.0, now=0)
    bucket.throttled(now=0)
    bucket.throttled(now=0.5)
    assert bucket.rate == pytest.approx(105)  # 100, and half a second of recovery
    assert bucket.take(10, now=0.5) > 0
    bucket.throttled(now=1.5)
    assert bucket.rate == pytest.approx(57.5)
    bucket.take(10, now=30)
    assert bucket.rate == 200


def test_the_rate_has_a_floor() -> None:
    bucket = Bucket(200, 2.0, now=0)
    for second in range(100):
        bucket.throttled(now=second)
    assert bucket.rate >= 10


class Exchange:
    """Its bucket, as it really is: it charges a call when the call arrives."""

    def __init__(self) -> None:
        self.tokens = 400.0
        self.at = 0.0

    def allows(self, cost: float, now: float) -> bool:
        self.tokens = min(400.0, self.tokens + (now - self.at) * 200)
        self.at = now
        if self.tokens + 1e-6 < cost:
            return False
        self.tokens -= cost
        return True


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from([5, 10, 30]), st.floats(0, 3), st.floats(0, 1)),
        min_size=1,
        max_size=150,
    )
)
def test_never_a_429_however_long_calls_are_under_way(
    calls: list[tuple[float, int, float, float]],
) -> None:
    """Calls are asked for after a while each, take their time to arrive, and to be answered."""
    bucket = Bucket(200, 2.0, now=0)
    exchange = Exchange()
    moments: list[tuple[float, int, str, int]] = []
    asked = 0.0
    for number, (wait, cost, _, _) in enumerate(calls):
        # Half the calls come in bunches.
        asked += wait if number % 2 else 0.0
        heapq.heappush(moments, (asked, number, "ask", cost))
    while moments:
        now, number, what, cost = heapq.heappop(moments)
        if what == "ask":
            if (later := bucket.take(cost, now)) > 0:
                heapq.heappush(moments, (now + max(later, 1e-3), number, "ask", cost))
            else:
                heapq.heappush(moments, (now + calls[number][2], number, "arrive", cost))
        elif what == "arrive":
            assert exchange.allows(cost, now)
            heapq.heappush(moments, (now + calls[number][3], number, "answer", cost))
        else:
            bucket.spend(cost, now)


async def test_first_come_first_served(clock: Clock) -> None:
    budget = Budget(10, burst_seconds=1, clock=clock)
    served: list[int] = []

    async def call(number: int) -> None:
        budget.spent(await budget.acquire(endpoints.MARKETS))
        served.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(call(number))
    assert served == list(range(20))
    assert clock.now == pytest.approx(19.0 / MARGIN)


async def test_a_cancelled_waiter_costs_nothing_and_blocks_nobody(clock: Clock) -> None:
    budget = Budget(10, burst_seconds=1, clock=clock)

    async def call() -> None:
        budget.spent(await budget.acquire(endpoints.MARKETS))

    await call()
    waiters = [asyncio.create_task(call()) for _ in range(3)]
    waiters[1].cancel()
    done = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(done[1], asyncio.CancelledError)
    assert clock.now == pytest.approx(2.0 / MARGIN)


async def test_stop_ends_waiting(clock: Clock) -> None:
    budget = Budget(10, burst_seconds=1, clock=clock)
    stop = asyncio.Event()
    await budget.acquire(endpoints.MARKETS, stop)
    stop.set()
    with pytest.raises(InterruptedWaitError):
        await budget.acquire(endpoints.MARKETS, stop)


async def test_costs_are_learned_from_the_exchange(clock: Clock) -> None:
    budget = Budget(200, clock=clock)
    assert budget.cost(endpoints.MARKETS) == 10
    budget.learn(
        EndpointCosts(
            default_cost=5,
            endpoint_costs=[
                EndpointCost(method="GET", path="/trade-api/v2/markets/{ticker}", cost=2),
                EndpointCost(method="get", path="/events/:event_ticker", cost=3),
                EndpointCost(method="POST", path="/markets", cost=99),
                EndpointCost(method="GET", path="/portfolio/orders", cost=99),
            ],
        )
    )
    assert budget.costs == {"market": 2, "event": 3}
    assert budget.cost(endpoints.MARKETS) == 5


def test_routes() -> None:
    assert by_route("GET", "/trade-api/v2/series/fee_changes") is endpoints.SERIES_FEE_CHANGES
    assert by_route("GET", "/series/{series_ticker}") is endpoints.SERIES
    assert by_route("DELETE", "/series/{series_ticker}") is None


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_budget_of_nothing_is_a_mistake(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="KALSHI_READ_BUDGET"):
        Budget(rate)


async def test_a_cost_learned_meanwhile_does_not_unbalance_the_books(clock: Clock) -> None:
    budget = Budget(200, clock=clock)
    cost = await budget.acquire(endpoints.ENDPOINT_COSTS)
    budget.learn(EndpointCosts(default_cost=50))
    budget.spent(cost)
    assert budget._bucket.reserved == 0
