"""Rate limits by token bucket. Pure: `now` is a monotonic time in seconds."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, what is left, and when it is worth trying again."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    """Until the bucket is full again."""
    retry_after_seconds: int
    """Until one more request may pass; 0 if one may now."""

    def headers(self) -> dict[str, str]:
        """RateLimit fields as in draft-ietf-httpapi-ratelimit-headers."""
        return {
            "RateLimit-Policy": f'"minute";q={self.limit};w=60',
            "RateLimit": f'"minute";r={self.remaining};t={self.reset_seconds}',
        }


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """A bucket for each name, full at first, that refills `limit` tokens a minute.

    Tokens are counted in fractions, so requests of the same instant each cost one. Of more than
    `capacity` names the one unused for longest is forgotten.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, limit: int, now: float) -> Verdict:
        """Take a token if there is one."""
        return self._judge(name, limit, now, 1.0)

    def peek(self, name: str, limit: int, now: float) -> Verdict:
        """Say whether a token could be taken."""
        return self._judge(name, limit, now, 0.0)

    def _judge(self, name: str, limit: int, now: float, cost: float) -> Verdict:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = _Bucket(float(limit), now)
        rate = limit / MINUTE
        elapsed = max(0.0, now - bucket.filled_at)
        bucket.tokens = min(float(limit), bucket.tokens + elapsed * rate)
        bucket.filled_at = now
        allowed = bucket.tokens >= 1.0
        if allowed:
            bucket.tokens -= cost
        self._buckets[name] = bucket
        self._buckets.move_to_end(name)
        while len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return Verdict(
            allowed,
            limit,
            max(0, math.floor(bucket.tokens)),
            math.ceil((limit - bucket.tokens) / rate),
            0 if allowed else max(1, math.ceil((1.0 - bucket.tokens) / rate)),
        )
