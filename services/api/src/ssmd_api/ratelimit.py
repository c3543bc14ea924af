"""Rate limits by token bucket. Pure: `now` is a monotonic time in nanoseconds.

Whole numbers throughout, so that who waits as long as `Retry-After` says is never too early.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from multidict import istr

_POLICY: Final = istr("RateLimit-Policy")
_LEFT: Final = istr("RateLimit")
_SECOND: Final = 1_000_000_000
_MINUTE: Final = 60 * _SECOND


class Verdict(NamedTuple):
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
            _POLICY: f'"minute";q={self.limit};w=60',
            _LEFT: f'"minute";r={self.remaining};t={self.reset_seconds}',
        }


@dataclass(slots=True)
class _Bucket:
    """`credit` grows by the limit each nanosecond; a token costs what a minute has of those."""

    credit: int
    filled_at: int


class RateLimiter:
    """A bucket for each name, full at first, that refills `limit` tokens a minute.

    Parts of tokens are counted too, so requests of the same instant each cost one. Of more than
    `capacity` names the one unused for longest is forgotten.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, limit: int, now: int) -> Verdict:
        """Take a token if there is one."""
        return self._judge(name, limit, now, _MINUTE)

    def give_back(self, name: str, limit: int, now: int) -> Verdict:
        """Put back a token that was taken for nothing."""
        return self._judge(name, limit, now, -_MINUTE)

    def peek(self, name: str, limit: int, now: int) -> Verdict:
        """Say whether a token could be taken."""
        return self._judge(name, limit, now, 0)

    def _judge(self, name: str, limit: int, now: int, cost: int) -> Verdict:
        full = limit * _MINUTE
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(full, now)
            while len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        credit = bucket.credit
        if now > bucket.filled_at:
            credit += (now - bucket.filled_at) * limit
            bucket.filled_at = now
        credit = min(credit, full)
        allowed = credit >= _MINUTE
        if allowed or cost < 0:
            credit = min(credit - cost, full)
        bucket.credit = credit
        return Verdict(
            allowed,
            limit,
            credit // _MINUTE,
            _seconds(full - credit, limit),
            0 if allowed else _seconds(_MINUTE - credit, limit),
        )


def _seconds(missing: int, limit: int) -> int:
    """How long so much credit takes to grow, in whole seconds, rounded up."""
    return -(-missing // (limit * _SECOND))
