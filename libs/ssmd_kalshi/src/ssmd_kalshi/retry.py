"""When to ask again: the policy is data, the classification pure, and all sleeping is here."""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from ssmd_kalshi.errors import (
    DeadlineError,
    InterruptedWaitError,
    KalshiError,
    PageError,
    RateLimitedError,
    TransientError,
)

T = TypeVar("T")


class Verdict(enum.Enum):
    """What to do with a failed attempt."""

    GIVE_UP = "give_up"
    RETRY = "retry"
    SLOW_DOWN = "slow_down"


def classify(error: KalshiError) -> Verdict:
    """429 slows down; 5xx, timeouts, resets, broken bodies retry; all else gives up."""
    if isinstance(error, RateLimitedError):
        return Verdict.SLOW_DOWN
    if isinstance(error, DeadlineError | PageError):
        return Verdict.GIVE_UP
    return Verdict.RETRY if isinstance(error, TransientError) else Verdict.GIVE_UP


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long. Delays are full jitter: uniform in (0, min(cap, base × 2^n)]."""

    attempts: int = 6
    """Attempts for failures that are not 429, the first one included."""
    throttled_attempts: int = 20
    """Attempts that may end in 429; the adaptive budget makes them rare."""
    base_seconds: float = 0.25
    cap_seconds: float = 15.0
    attempt_seconds: float = 60.0
    """Deadline of one attempt, its reply read to the end."""
    total_seconds: float = 300.0
    """Deadline of all attempts together, waiting for the budget included."""

    def delay_seconds(
        self, failures: int, chance: float, retry_after_seconds: float | None = None
    ) -> float:
        """The pause after the nth failure (1, 2, …); `chance` is uniform in [0, 1).

        A Retry-After, which the exchange does not send today, is a lower bound, capped.
        """
        # 2**failures overflows a float long before anybody waits that long.
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 30))
        delay = ceiling * (1.0 - chance)
        if retry_after_seconds is not None:
            delay = max(delay, min(retry_after_seconds, self.cap_seconds))
        return delay

    def may_retry(self, verdict: Verdict, failures: int, throttled: int) -> bool:
        """Whether another attempt follows, after so many failures and so many 429."""
        match verdict:
            case Verdict.GIVE_UP:
                return False
            case Verdict.SLOW_DOWN:
                return throttled < self.throttled_attempts
            case Verdict.RETRY:
                return failures < self.attempts


async def pause(seconds: float, stop: asyncio.Event | None = None) -> None:
    """Sleep; InterruptedWaitError at once when `stop` is, or becomes, set."""
    if stop is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
    raise InterruptedWaitError("the exchange client was told to stop while it waited")


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    stop: asyncio.Event | None = None,
    on_retry: Callable[[KalshiError, float], None] | None = None,
    chance: Callable[[], float] = random.random,
) -> T:
    """The first attempt that succeeds. Raises the last failure when the policy is exhausted, and
    DeadlineError (with that failure as its cause) when time is."""
    last: KalshiError | None = None
    failures = throttled = 0
    try:
        async with asyncio.timeout(policy.total_seconds):
            while True:
                try:
                    return await attempt()
                except KalshiError as error:
                    last = error
                verdict = classify(last)
                if verdict is Verdict.SLOW_DOWN:
                    throttled += 1
                else:
                    failures += 1
                if not policy.may_retry(verdict, failures, throttled):
                    raise last
                delay = policy.delay_seconds(
                    failures + throttled, chance(), getattr(last, "retry_after_seconds", None)
                )
                if on_retry is not None:
                    on_retry(last, delay)
                await pause(delay, stop)
    except TimeoutError as error:
        raise DeadlineError(
            f"no usable reply within {policy.total_seconds:g} s: "
            "check the exchange's status page and the network, then try again"
        ) from (last or error)
