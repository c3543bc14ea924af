"""The token bucket and its adaptation."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_kalshi import endpoints
from ssmd_kalshi.budget import Bucket, Budget
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


def test_burst_of_two_seconds_then_the_rate() -> None:
    bucket = Bucket(200, 2.0, now=0)
    for _ in range(40):
        assert bucket.take(10, now=0) == 0
    assert bucket.take(10, now=0) == pytest.approx(0.05)
    assert bucket.take(10, now=0.05) == 0


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(200, 2.0, now=0)
    assert sum(bucket.take(10, now=1000) == 0 for _ in range(100)) == 40


def test_a_call_larger_than_the_bucket_leaves_a_debt() -> None:
    bucket = Bucket(10, 2.0, now=0)
    assert bucket.take(100, now=0) == 0
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


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 60), st.booleans()), min_size=1, max_size=60)
)
def test_never_more_than_the_exchange_allows(steps: list[tuple[float, int, bool]]) -> None:
    """Whatever happens, what was taken by time t is at most burst + rate × t (+ one debt)."""
    bucket = Bucket(200, 2.0, now=0)
    now = 0.0
    spent = 0
    for wait, cost, throttled in steps:
        now += wait
        if throttled:
            bucket.throttled(now)
        if bucket.take(cost, now) == 0:
            spent += cost
        assert spent <= 400 + 200 * now + 1e-6
        assert bucket.rate <= 200


async def test_first_come_first_served(clock: Clock) -> None:
    budget = Budget(10, burst_seconds=1, clock=clock)
    served: list[int] = []

    async def call(number: int) -> None:
        await budget.acquire(endpoints.MARKETS)
        served.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(call(number))
    assert served == list(range(20))
    assert clock.now == pytest.approx(19.0)


async def test_a_cancelled_waiter_costs_nothing_and_blocks_nobody(clock: Clock) -> None:
    budget = Budget(10, burst_seconds=1, clock=clock)
    await budget.acquire(endpoints.MARKETS)
    waiters = [asyncio.create_task(budget.acquire(endpoints.MARKETS)) for _ in range(3)]
    waiters[1].cancel()
    done = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(done[1], asyncio.CancelledError)
    assert clock.now == pytest.approx(2.0)


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
