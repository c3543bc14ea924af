"""The fields of lifecycle messages: the column that each stands for, and how its value is read.

Pure. A reader is never given null or empty text, and raises ValueError or TypeError with what is
wrong. Nothing is guessed: a number in quotes is no time, and `"true"` no boolean.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from ssmd_kalshi.unread import ticker_fault

Fields = Mapping[str, tuple[str, Callable[[Any], Any]]]
"""Field of a message → column, and the reader of its value."""

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][-+]?[0-9]{1,3})?")


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("it is not text")
    return value


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it is not true or false")
    return value


def moment(value: Any) -> datetime:
    """Seconds since 1970 as UTC."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("it is not a number of seconds")
    if value < 0:
        raise ValueError("it is before 1970")
    try:
        return _1970 + timedelta(seconds=value)
    except OverflowError as error:
        raise ValueError("it is after the year 9999") from error


def moment_if_any(value: Any) -> datetime | None:
    """Likewise; zero is how the exchange says that there is none."""
    found = moment(value)
    return None if found == _1970 else found


def number(value: Any) -> Decimal:
    """An exact number, also one that stands in quotes."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("it is not a number")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("it is not a number")
    # repr of a float is the shortest text that reads back the same: what the exchange wrote.
    found = Decimal(repr(value) if isinstance(value, float) else value)
    if not found.is_finite() or abs(found.adjusted()) > 30:
        raise ValueError("it is out of any sensible range")
    return found


def dollars(value: Any) -> Decimal:
    found = number(value)
    if abs(found) >= 9_999:
        raise ValueError("it is larger than its column, numeric(10,6)")
    return found


def json_object(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        raise TypeError("it is not an object")
    return value or None


def json_objects(value: Any) -> list[Any] | None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("it is not a list of objects")
    return value or None


def whole_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("it is not a whole number")
    return value


def ticker(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if fault := ticker_fault(value):
        raise ValueError(fault)
    return str(value)


MARKET: Final[Fields] = {
    "title": ("title", text),
    "yes_sub_title": ("yes_sub_title", text),
    "no_sub_title": ("no_sub_title", text),
    "rules_primary": ("rules_primary", text),
    "strike_type": ("strike_type", text),
    "floor_strike": ("floor_strike", number),
    "cap_strike": ("cap_strike", number),
    "custom_strike": ("custom_strike", json_object),
    "can_close_early": ("can_close_early", flag),
    "expected_expiration_ts": ("expected_expiration_time", moment),
    "open_ts": ("open_time", moment),
    "close_ts": ("close_time", moment),
    "determination_ts": ("determined_ts", moment),
    "settled_ts": ("settled_time", moment),
    "result": ("result", text),
    "settlement_value": ("settlement_value_dollars", dollars),
    "price_level_structure": ("price_level_structure", text),
    "price_ranges": ("price_ranges", json_objects),
}
MARKET_TIMES: Final = {
    "open_ts": "open_time",
    "close_ts": "close_time",
    "determined_ts": "determined_ts",
    "settled_ts": "settled_time",
}
"""Columns of `market_lifecycle_events` with the message's columns that they repeat."""

PARENT: Final[Fields] = {"event_ticker": ("event_ticker", ticker)}
SERIES: Final[Fields] = {"series_ticker": ("series_ticker", ticker)}
EXTRA: Final[Fields] = {
    "rules_secondary": ("rules_secondary", text),
    "exchange_index": ("exchange_index", whole_number),
}
"""Of a new market only: its `extra`."""
EVENT_EXTRA: Final[Fields] = {"exchange_index": ("exchange_index", whole_number)}
"""Likewise of a new event."""

EVENT: Final[Fields] = {
    "title": ("title", text),
    "subtitle": ("sub_title", text),
    "collateral_return_type": ("collateral_return_type", text),
    "strike_date": ("strike_date", moment_if_any),
    "strike_period": ("strike_period", text),
}
FEE: Final[Fields] = {
    "fee_type_override": ("fee_type_override", text),
    "fee_multiplier_override": ("fee_multiplier_override", number),
}
