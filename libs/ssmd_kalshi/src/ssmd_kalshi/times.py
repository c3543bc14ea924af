"""The exchange's milliseconds. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(milliseconds: float | None) -> datetime | None:
    """The moment; None where there is none or it cannot be."""
    if milliseconds is None or milliseconds < 0:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
