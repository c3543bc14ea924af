"""The exchange's milliseconds. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def moment(milliseconds: float | None) -> datetime | None:
    """The moment; None where there is none or it cannot be."""
    if milliseconds is None or milliseconds < 0:
        return None
    try:
        return _1970 + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):
        return None
