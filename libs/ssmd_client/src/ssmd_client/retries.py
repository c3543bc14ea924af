"""When a request is made again, and how long it is waited before. The policy is data."""

import random
from dataclasses import dataclass
from typing import Final

STATUSES: Final = frozenset((429, 502, 503, 504))
"""Answers of a server that may be able to serve in a while; 502 and 504 are a proxy's."""


def doubled(first_seconds: float, failures: int, longest_seconds: float) -> float:
    """What is waited after so many failures, 1 or more: each time twice as long, up to a bound."""
    # A float has no room for the power of a day's failures.
    return min(first_seconds * 2.0 ** min(failures - 1, 30), longest_seconds)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is made at most, and what is waited between. All requests of this client
    only read, or carry an Idempotency-Key, so that each may be made again."""

    tries: int = 5
    first_seconds: float = 0.5
    """Waited after the first failure; each time twice as long, up to `longest_seconds`."""
    longest_seconds: float = 60.0
    """A server that asks for more (`Retry-After`) is not waited for."""
    jitter: float = 0.25
    """Up to this share is added, so that many clients do not come again at once."""

    def wait_seconds(self, failures: int, asked_seconds: float | None = None) -> float | None:
        """After so many failures, 1 or more; None where it is not tried again. `asked_seconds` is
        what the server asked for: never less is waited."""
        if failures >= self.tries:
            return None
        wait = doubled(self.first_seconds, failures, self.longest_seconds)
        if asked_seconds is not None:
            if asked_seconds > self.longest_seconds:
                return None
            wait = max(asked_seconds, 0.0)
        return wait + random.uniform(0, wait * self.jitter)  # noqa: S311


NEVER: Final = Retries(tries=1)
"""Each request is made once."""


def retry_after(header: str | None) -> float | None:
    """The seconds that a `Retry-After` asks for; None where it says none."""
    if header is None or not (header.isascii() and header.isdigit()):
        return None
    return float(header)
