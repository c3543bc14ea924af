"""Moments as the API takes them. Pure."""

from datetime import datetime, timedelta

Moment = datetime | timedelta | str | None
"""A time with its zone, a duration from now (negative for the past), or the API's own text, such as
`2026-02-03T22:05Z`, `24h` or `-7d`."""


def spelled(moment: Moment) -> str | None:
    """Its text.

    Raises:
        ValueError: the time names no zone.
    """
    match moment:
        case datetime():
            if moment.tzinfo is None:
                raise ValueError(f"{moment} names no zone: give it one, such as datetime.now(UTC)")
            return moment.isoformat()
        case timedelta():
            return f"{moment // timedelta(seconds=1)}s"
        case _:
            return moment
