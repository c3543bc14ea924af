"""The weekly maintenance: Thursdays 03:00 to 05:00 Eastern standard time.

WebSocket connections are closed when it starts, and trading rests while it lasts.
"""

_WEEK = 7 * 86400
# Thursday, 1970-01-01, 03:00 Eastern: the epoch was a Thursday.
_FIRST = 8 * 3600
_SECONDS = 2 * 3600


def is_on(now: float) -> bool:
    """Whether trading rests for maintenance."""
    return (now - _FIRST) % _WEEK < _SECONDS


def next_start(now: float) -> float:
    """When the next maintenance starts, after `now`."""
    return _FIRST + ((now - _FIRST) // _WEEK + 1) * _WEEK
