"""The weekly maintenance: Thursdays 03:00 to 05:00 in New York, summer time and all.

WebSocket connections are closed when it starts, and trading rests while it lasts.
"""

from datetime import UTC, date, datetime, timedelta

_THURSDAY, _SUNDAY = 3, 6
_SECONDS = 2 * 3600


def is_on(now: float) -> bool:
    """Whether trading rests for maintenance."""
    # In UTC it is 7 to 10 o'clock, so the day is the same.
    day = _utc_date(now)
    return day.weekday() == _THURSDAY and 0 <= now - _start(day) < _SECONDS


def next_start(now: float) -> float:
    """When the next maintenance starts, after `now`."""
    day = _on_or_after(_utc_date(now), _THURSDAY)
    start = _start(day)
    return start if start > now else _start(day + timedelta(days=7))


def _start(thursday: date) -> float:
    # By law: from the second Sunday of March to the first of November. Not from the machine's time
    # zones, which a container may not have.
    summer = _on_or_after(date(thursday.year, 3, 8), _SUNDAY)
    winter = _on_or_after(date(thursday.year, 11, 1), _SUNDAY)
    hour = 3 + (4 if summer <= thursday < winter else 5)
    midnight = datetime(thursday.year, thursday.month, thursday.day, tzinfo=UTC)
    return midnight.timestamp() + hour * 3600


def _on_or_after(day: date, weekday: int) -> date:
    return day + timedelta(days=(weekday - day.weekday()) % 7)


def _utc_date(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()
