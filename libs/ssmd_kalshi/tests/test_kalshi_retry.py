"""The retry policy, its classification, and the one place that sleeps."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_kalshi import errors
from ssmd_kalshi.http import reply_error
from ssmd_kalshi.retry import RetryPolicy, Verdict, classify, pause, with_retries

QUICK = RetryPolicy(
    attempts=3, throttled_attempts=5, base_seconds=0, attempt_seconds=10, total_seconds=30
)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.GIVE_UP),
        (401, Verdict.GIVE_UP),
        (403, Verdict.GIVE_UP),
        (404, Verdict.GIVE_UP),
        (409, Verdict.GIVE_UP),
        (302, Verdict.GIVE_UP),
        (429, Verdict.SLOW_DOWN),
        (500, Verdict.RETRY),
        (502, Verdict.RETRY),
        (503, Verdict.RETRY),
        (504, Verdict.RETRY),
    ],
)
def test_statuses(status: int, verdict: Verdict) -> None:
    assert classify(reply_error("markets", status, b"{}")) is verdict


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (errors.UnreachableError("x"), Verdict.RETRY),
        (errors.AttemptTimeoutError("x"), Verdict.RETRY),
        (errors.BrokenReplyError("x"), Verdict.RETRY),
        (errors.DeadlineError("x"), Verdict.GIVE_UP),
        (errors.CursorLoopError("x"), Verdict.GIVE_UP),
        (errors.ForbiddenFilterError("x"), Verdict.GIVE_UP),
        (errors.InterruptedWaitError("x"), Verdict.GIVE_UP),
        (errors.ConfigurationError("x"), Verdict.GIVE_UP),
    ],
)
def test_failures(error: errors.KalshiError, verdict: Verdict) -> None:
    assert classify(error) is verdict


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_delays_are_full_jitter_below_the_cap(failures: int, chance: float) -> None:
    policy = RetryPolicy(base_seconds=0.25, cap_seconds=15)
    delay = policy.delay_seconds(failures, chance)
    assert 0 < delay <= min(15, 0.25 * 2 ** min(failures - 1, 60))


def test_retry_after_is_a_lower_bound_and_capped() -> None:
    policy = RetryPolicy(base_seconds=0.25, cap_seconds=15)
    assert policy.delay_seconds(1, 0.5, 3) == 3
    assert policy.delay_seconds(1, 0.5, 1e9) == 15


class Attempts:
    """Fails with each error in turn, then answers."""

    def __init__(self, *failures: errors.KalshiError) -> None:
        self.failures = list(failures)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self.failures:
            raise self.failures.pop(0)
        return "reply"


async def test_transient_failures_are_survived() -> None:
    attempts = Attempts(errors.UnreachableError("a"), errors.BrokenReplyError("b"))
    assert await with_retries(attempts, QUICK) == "reply"
    assert attempts.count == 3


async def test_the_last_failure_is_raised_when_attempts_are_spent() -> None:
    attempts = Attempts(*(errors.UnreachableError(str(n)) for n in range(9)))
    with pytest.raises(errors.UnreachableError, match="2"):
        await with_retries(attempts, QUICK)
    assert attempts.count == 3


async def test_429_has_a_count_of_its_own() -> None:
    attempts = Attempts(*(reply_error("markets", 429, b"{}") for _ in range(4)))
    assert await with_retries(attempts, QUICK) == "reply"
    attempts = Attempts(*(reply_error("markets", 429, b"{}") for _ in range(5)))
    with pytest.raises(errors.RateLimitedError):
        await with_retries(attempts, QUICK)


async def test_4xx_is_raised_at_once() -> None:
    attempts = Attempts(reply_error("market", 404, b"{}"))
    with pytest.raises(errors.NotFoundError):
        await with_retries(attempts, QUICK)
    assert attempts.count == 1


async def test_total_deadline_ends_it_and_names_the_last_failure() -> None:
    policy = RetryPolicy(base_seconds=60, cap_seconds=60, total_seconds=0.05)
    with pytest.raises(errors.DeadlineError, match="status page") as caught:
        await with_retries(Attempts(errors.UnreachableError("dns")), policy, chance=lambda: 0.0)
    assert isinstance(caught.value.__cause__, errors.UnreachableError)


async def test_stop_interrupts_the_pause() -> None:
    stop = asyncio.Event()
    policy = RetryPolicy(base_seconds=3600, cap_seconds=3600, total_seconds=7200)
    seen: list[float] = []

    def on_retry(_: errors.KalshiError, delay: float) -> None:
        seen.append(delay)
        asyncio.get_running_loop().call_soon(stop.set)

    with pytest.raises(errors.InterruptedWaitError):
        await with_retries(
            Attempts(errors.UnreachableError("x")), policy, stop=stop, on_retry=on_retry
        )
    assert len(seen) == 1


async def test_stop_already_set_does_not_wait() -> None:
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(errors.InterruptedWaitError):
        await pause(3600, stop)


async def test_pause_ends_by_itself() -> None:
    await pause(0, asyncio.Event())
    await pause(0)
