"""When a silence is longer than the exchange's own rate explains. Pure: `now` is an argument.

The rate is an average that forgets with a time constant of an hour. At a rate r, a silence of t
seconds has the probability exp(-r·t); below one in a million it is no accident. Scheduled
maintenance is no silence to be alarmed about.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

_FORGET_SECONDS: Final = 3600.0
_IMPROBABLE: Final = -math.log(1e-6)
_LEAST_SECONDS: Final = 60.0
NEW_YORK: Final = ZoneInfo("America/New_York")
_THURSDAY: Final = 3


@dataclass(slots=True)
class Silence:
    """The rate of messages, as far as it is known."""

    per_second: float = 0.0
    last_at: datetime | None = None
    _weight: float = 0.0

    def heard(self, now: datetime) -> None:
        """A message came."""
        if self.last_at is not None:
            seconds = max(0.0, (now - self.last_at).total_seconds())
            kept = math.exp(-seconds / _FORGET_SECONDS)
            self._weight = self._weight * kept + (1 - kept)
            self.per_second = self.per_second * kept + 1 / _FORGET_SECONDS
        self.last_at = now

    def age_seconds(self, now: datetime) -> float | None:
        """Since the last message; None before the first."""
        return None if self.last_at is None else max(0.0, (now - self.last_at).total_seconds())

    def is_suspicious(self, now: datetime) -> bool:
        """Whether the silence up to `now` is no accident."""
        age = self.age_seconds(now)
        if age is None or is_maintenance(now) or self._weight < 0.05:
            return False
        rate = self.per_second / self._weight
        return age > _LEAST_SECONDS and rate * age > _IMPROBABLE


def is_maintenance(now: datetime) -> bool:
    """The exchange's weekly window: Thursdays, 03:00 to 05:00 in New York."""
    local = now.astimezone(NEW_YORK)
    return local.weekday() == _THURSDAY and 3 <= local.hour < 5
