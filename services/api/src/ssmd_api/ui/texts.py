"""Values as people read them: prices, contracts, times, durations. Pure.

What is shown shorter than it is has its exact value in `title`. A time is UTC here; the pages'
script makes it local.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, Literal

from markupsafe import Markup

from ssmd_common.errors import MalformedTime
from ssmd_common.parts import duration
from ssmd_common.times import moment

Unit = Literal["cents", "dollars"]

NOTHING: Final = Markup('<span class="none">–</span>')
_SHORT: Final[tuple[tuple[int, str], ...]] = ((10**9, "B"), (10**6, "M"), (10**3, "k"))
_SHORTENED_FROM: Final = 10_000
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC)")
_REMEMBERED: Final = 8192
"""Texts of each kind: a page has hundreds of prices, of which most are alike, and many read it."""


def price(dollars: Any, unit: Unit) -> Markup:
    """A price of the exact dollars; what is below a cent stands in a place of its own, so that
    columns of whole and of sub-cent prices have their cents below each other."""
    return _said_price(dollars, unit) if isinstance(dollars, str) else _price(dollars, unit)


def _price(dollars: Any, unit: Unit) -> Markup:
    value = _decimal(dollars)
    if value is None:
        return NOTHING
    if unit == "cents":
        head, _, tail = f"{value * 100:f}".partition(".")
        tail = tail.rstrip("0")
        below = f".{tail}" if tail else ""
    else:
        cents = value.quantize(Decimal("0.01"), "ROUND_DOWN")
        head = f"{cents:f}"
        below = f"{value:f}".partition(".")[2][2:].rstrip("0")
    # Digits need no escaping, which takes as long as all else here.
    return Markup(  # noqa: S704
        f'<span class="price" title="${value.normalize():f}">{head}<i>{below}</i></span>'
    )


_said_price: Final = lru_cache(maxsize=_REMEMBERED)(_price)


def count(contracts: Any) -> Markup:
    """How many contracts: short from ten thousand on."""
    return _said_count(contracts) if isinstance(contracts, str) else _count(contracts)


def _count(contracts: Any) -> Markup:
    value = _decimal(contracts)
    if value is None:
        return NOTHING
    return Markup(  # noqa: S704 - as above
        f'<span class="count" title="{_exact(value)}">{short(value)}</span>'
    )


_said_count: Final = lru_cache(maxsize=_REMEMBERED)(_count)


def exact_count(contracts: Any) -> Markup:
    """How many contracts, in full."""
    value = _decimal(contracts)
    return NOTHING if value is None else Markup(_exact(value))  # noqa: S704 - as above


def _exact(value: Decimal) -> str:
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(value: Decimal | int) -> str:
    """9,876 in full, 12.3k, 4.56M, 1.23B in three digits."""
    number = Decimal(value)
    for size, letter in _SHORT:
        if abs(number) >= max(size, _SHORTENED_FROM):
            scaled = number / size
            digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
            return f"{scaled:.{digits}f}{letter}"
    return f"{int(number):,}"


def when(value: Any, form: str = "short", now: datetime | None = None) -> Markup:
    """A time: `short` has the minute, `second` the second, `exact` its parts too, `day` the date;
    `ago`, `since` and `until` say how long from now."""
    found = _said_stamped(value) if isinstance(value, str) else _stamped(value)
    if found is None:
        return NOTHING if value is None else Markup('<span class="far">{}</span>').format(value)
    at, marks = found
    shown = _spelled(at, form, now or datetime.now(UTC))
    # As above; forms are ours.
    return Markup(f'<time {marks} data-form="{form}">{shown}</time>')  # noqa: S704


def _stamped(value: Any) -> tuple[datetime, str] | None:
    """A time with its marks in any form."""
    at = _moment(value)
    if at is None:
        return None
    exact = at.isoformat().replace("+00:00", "Z")
    return at, f'datetime="{exact}" title="{at:%Y-%m-%d %H:%M:%S} UTC"'


_said_stamped: Final = lru_cache(maxsize=_REMEMBERED)(_stamped)


def _spelled(at: datetime, form: str, now: datetime) -> str:
    match form:
        case "ago":
            return f"{duration(max(0.0, (now - at).total_seconds()))} ago"
        case "since":
            return duration(max(0.0, (now - at).total_seconds()))
        case "until":
            left = (at - now).total_seconds()
            return countdown(left) if left > 0 else f"overdue {duration(-left)}"
        case "day":
            return f"{at:%Y-%m-%d}"
        case "exact":
            parts = f".{at.microsecond:06}".rstrip("0") if at.microsecond else ""
            return _spelled(at, "second", now) + parts
        case "second":
            return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M:%S}"
        case _:
            return f"{at:%d %b %H:%M}" if at.year == now.year else f"{at:%d %b %Y %H:%M}"


def countdown(seconds: float) -> str:
    """In two parts: 3 d 04 h, 5 h 07 min, 12 min 03 s, 42 s."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days:,} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole % 60} s"


def lag(seconds: Any) -> str:
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else duration(seconds)


def took(began: Any, ended: Any) -> str:
    """How long something took."""
    first, last = _moment(began), _moment(ended)
    return "–" if first is None or last is None else lag((last - first).total_seconds())


def number(value: int | None) -> Markup:
    """A count of ours, in full."""
    return NOTHING if value is None else Markup(f"{value:,}")  # noqa: S704 - digits


def factor(value: Any) -> str:
    """A multiplier without zeros at its end."""
    found = _decimal(value)
    return "–" if found is None else f"{found.normalize():f}"


def with_times(sentence: str) -> Markup:
    """A sentence of ours whose moments in UTC are times, as all others are."""
    parts = _MOMENT.split(sentence)
    return Markup("").join(
        when(f"{part.replace(' UTC', '')}+00:00", "second") if n % 2 else part
        for n, part in enumerate(parts)
    )


def with_code(sentence: str) -> Markup:
    """A sentence of ours, with what stands between backticks as code."""
    parts = sentence.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts)
    )


def words(name: str) -> str:
    """A column's or a type's name, to be read."""
    return name.replace("_", " ")


def _decimal(value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    try:
        return moment(value) if isinstance(value, str) else None
    except MalformedTime:
        return None
