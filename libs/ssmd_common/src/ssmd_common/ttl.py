"""When a key of the cache expires (docs/contracts.md § 3). Pure: `now` never enters here.

A rule yields the instant at which a row's key ends, or None for a key without an end. A caller
writes no key for an instant that has passed, and none for a row that is soft-deleted.
"""

from datetime import datetime, timedelta
from typing import Final

from ssmd_common.status import EventStatus, MarketStatus

AFTER: Final = timedelta(days=1)


def market_expires_at(
    status: str, close_time: datetime | None, settled_time: datetime | None, updated_at: datetime
) -> datetime | None:
    """None until settled; then a day after the earlier of close and settlement."""
    if status != MarketStatus.SETTLED:
        return None
    if close_time is None:
        return _after(updated_at)
    return _after(min(close_time, settled_time or close_time))


def event_expires_at(
    status: str, strike_date: datetime | None, updated_at: datetime
) -> datetime | None:
    """None while open; then a day after its strike date."""
    if status == EventStatus.OPEN:
        return None
    return _after(strike_date or updated_at)


def _after(moment: datetime) -> datetime | None:
    try:
        return moment + AFTER
    except OverflowError:
        # In the year 10000: no end that any clock here reaches.
        return None
