"""The one spelling of a time, in stream, Redis, API and snapshot (docs/contracts.md § 2). Pure.

RFC 3339 in UTC from the year 0 to 9999, with a fraction only where there is one; further years as
ISO 8601 extends them, with a sign (44 BC is `-0043-03-15T00:00:00Z`, the year 15000
`+15000-12-31T23:40:28Z`); `infinity` and `-infinity` as PostgreSQL has them.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from ssmd_common.errors import MalformedTime

UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""What the letter behind the number of a duration stands for; which are taken, each place says."""

_TIME: Final = re.compile(rb"(\d{4,})(-\d\d-\d\d)(?: ([0-9:.]+))?(\+00)?( BC)?")


def spelled(raw: bytes) -> bytes:
    """The spelling of a timestamptz, timestamp or date as PostgreSQL writes it.

    The session has DateStyle ISO and TimeZone UTC: `2026-02-03 22:05:00.12+00`. A timestamp without
    a zone has no Z, a date no clock.

    Raises:
        MalformedTime: it is in another form.
    """
    if raw[10:11] == b" " and raw[-3:] == b"+00":
        return b"%bT%bZ" % (raw[:10], raw[11:-3])
    if raw in (b"infinity", b"-infinity"):
        return raw
    match = _TIME.fullmatch(raw)
    if match is None:
        raise MalformedTime("a time is not in the form that DateStyle ISO and TimeZone UTC give")
    year, day, clock, utc, bc = match.groups()
    number = 1 - int(year) if bc else int(year)
    sign = b"" if 0 <= number <= 9999 else b"-" if number < 0 else b"+"
    rest = b"T" + clock if clock else b""
    return b"%b%04d%b%b%b" % (sign, abs(number), day, rest, b"Z" if utc else b"")


def spelled_moment(moment: datetime) -> str:
    """The spelling of an aware time of Python's, as `spelled` has it."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"


def moment(text: str) -> datetime | None:
    """An aware time from its spelling, or from PostgreSQL's own text in UTC.

    None for a time that Python cannot hold: infinity, before the year 1, after 9999. Such a time
    counts as none.

    Raises:
        MalformedTime: it is no time at all, or has no zone.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        if text in ("infinity", "-infinity") or _FAR.fullmatch(text):
            return None
        raise MalformedTime("a time is in no form that is known here") from error
    if found.tzinfo is None:
        raise MalformedTime("a time has no zone")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        return None


def is_time(text: str) -> bool:
    """Whether `moment` takes it."""
    try:
        moment(text)
    except MalformedTime:
        return False
    return True


def microseconds(text: str) -> int:
    """Of a spelling, since 1970 and exact for every year; the infinities are before and after all.

    Raises:
        MalformedTime: it is not one of the spellings above.
    """
    try:
        # 400 years of the calendar are as long as any other 400.
        match = _SPELLED.fullmatch(text)
        if match is None:
            return _INFINITIES[text]
        year = int(match[1])
        near = 2000 + year % 400
        at = datetime.fromisoformat(f"{near}{match[2]}+00:00")
    except (KeyError, ValueError) as error:
        raise MalformedTime("a time is in no form that is known here") from error
    return (at - _1970) // _MICROSECOND + (year - near) // 400 * _400_YEARS


_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_400_YEARS: Final = 146_097 * 86_400 * 1_000_000
_INFINITIES: Final = {"infinity": (1 << 64) - 1, "-infinity": -(1 << 63)}
_SPELLED: Final = re.compile(r"([+-]?\d{4,})(-\d\d-\d\dT[0-9:.]+)Z", re.ASCII)
_FAR: Final = re.compile(
    r"(?:[+-]?\d{4,}-\d\d-\d\dT[0-9:.]+Z|\d{4,}-\d\d-\d\d [0-9:.]+\+00(?: BC)?)", re.ASCII
)
