"""What the exchange's texts and numbers mean. Pure, and remembered.

The exchange repeats values without end (`"0.0000"`, one close time for a whole event), so parsing
is remembered by text; that, and not cleverness, is why a page converts in a few milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from ssmd_common.columns import Kind, Table
from ssmd_common.memo import Memo
from ssmd_common.models import RejectedField
from ssmd_common.prices import ask_cents, bid_cents, last_price_cents, whole_contracts
from ssmd_kalshi.unread import MAX_TICKER_CHARACTERS, Unread, json_fault, printable
from ssmd_kalshi.wire import Number, WireRow

R = TypeVar("R", bound=WireRow)

_DOLLARS_LIMIT = Decimal(9_999)  # numeric(10,6) and numeric(8,4), rounding included
_COUNT_LIMIT = Decimal(10) ** 18  # numeric(20,2), and whole contracts in a bigint
_MAX_EXPONENT = 30
_NO_CONTRACTS = (Decimal("0.00"), 0)

# What Decimal takes beside this (spaces, underscores, other scripts' digits) no exchange writes.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?").fullmatch
# What datetime takes beside this differs between versions of Python.
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
).fullmatch


def decimal(value: Number) -> Decimal | None:
    """The exact number. ValueError or ArithmeticError for text that is none, NaN and infinities."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and not _NUMBER(value):
        raise ValueError("it is not a number")
    # repr of a float is the shortest text that reads back the same: what the exchange wrote.
    number = Decimal(value if isinstance(value, str | int) else repr(value))
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError("it is not a number in any sensible range")
    return number


def dollars(value: Number) -> Decimal | None:
    number = decimal(value)
    if number is not None and abs(number) >= _DOLLARS_LIMIT:
        raise ValueError("it is not a price in dollars")
    return number


def count(value: Number) -> Decimal | None:
    number = decimal(value)
    if number is not None and abs(number) >= _COUNT_LIMIT:
        raise ValueError("it is not a number of contracts")
    return number


def contracts(value: Number) -> tuple[Decimal | None, int | None]:
    """A count, exact and in whole contracts. Not remembered: counts differ between markets."""
    if value == "0.00":
        return _NO_CONTRACTS
    if isinstance(value, str) and value[-3:-2] == "." and len(value) < 20 and value.isascii():
        # Two decimals, as the exchange writes counts: what is before them is whole and not too big.
        whole = value[:-3]
        if whole.isdigit() and value[-2:].isdigit():
            return Decimal(value), int(whole)
    number = count(value)
    return number, whole_contracts(number)


def time(value: str | None) -> datetime | None:
    """RFC 3339 text with any number of fractional digits (microseconds are kept) as UTC.

    Upper-case T and Z, a zone, hours to 23 and seconds to 59: the same text reads the same on
    every version of Python, and the hour 24, leap seconds, week dates and what is only nearly RFC
    3339 are ValueError. The year 1 is how the exchange writes "never": None.
    """
    if not value:
        return None
    if not _RFC_3339(value):
        raise ValueError("it is not a time as RFC 3339 writes it")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError("there is no such day") from error
    if moment.year == 1:
        return None
    try:
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is beyond the year 9999") from error


def _both(
    exact: Callable[[Number], Decimal | None], rounded: Callable[[Decimal | None], int | None]
) -> Memo[tuple[Decimal | None, int | None]]:
    def parse(value: Number) -> tuple[Decimal | None, int | None]:
        number = exact(value)
        return number, rounded(number)

    return Memo(parse)


DECIMAL = Memo(decimal)
DOLLARS = Memo(dollars)
TIME = Memo(time)
# Exact dollars, and cents.
BID = _both(dollars, bid_cents)
ASK = _both(dollars, ask_cents)
LAST = _both(dollars, last_price_cents)


def from_cents(cents: Number) -> str | None:
    """The older generation's integer cents as a text of dollars."""
    number = decimal(cents)
    return None if number is None else str(number.scaleb(-2))


def cents(value: Number) -> Decimal | None:
    return dollars(from_cents(value))


def json_value(value: object) -> object:
    """ValueError for what cannot be stored as JSON (`ssmd_kalshi.unread`)."""
    if value is not None and (fault := json_fault(value)):
        raise ValueError(fault)
    return value


# --- what cannot be read ------------------------------------------------------------------------

FAULTS = (ValueError, ArithmeticError, TypeError)
Fields = Mapping[str, Callable[[Any], object]]
"""Fields of a wire row by name, each with the function that reads it."""
Columns = Mapping[str, tuple[str, ...]]
"""The columns of the row that a field stands for; fields without a column are absent."""
StandIns = Mapping[str, str]
"""Fields of the older generation, each with the field that it stands in for."""

_READERS: Fields = {
    Kind.TIME: TIME.__getitem__,
    Kind.NUMERIC: DECIMAL.__getitem__,
    Kind.TEXTS: json_value,
    Kind.JSON: json_value,
}


def same_name(wire: type[WireRow], table: Table) -> dict[str, tuple[str, ...]]:
    """The fields that stand for a column of their own name, which their writer provides."""
    names = {column.name for column in table.columns if not column.derived}
    return {name: (name,) for name in wire.__struct_fields__ if name in names}


def readers(columns: Columns, table: Table) -> dict[str, Callable[[Any], object]]:
    """How fields are read that stand for one column, by what it holds."""
    kinds = {field: table[names[0]].kind for field, names in columns.items() if len(names) == 1}
    return {field: _READERS[kind] for field, kind in kinds.items() if kind in _READERS}


def without_bad(wire: R, fields: Fields, stand_ins: StandIns) -> tuple[R, list[Unread]]:
    """The wire row with None for what cannot be read, and what that is.

    A field that stands in for another is looked at only where it is needed.
    """
    bad = {one.name: one for one in wire.rejected}
    for name, parse in fields.items():
        newer = stand_ins.get(name)
        if newer is not None and newer not in bad and getattr(wire, newer) is not None:
            continue
        value = getattr(wire, name)
        try:
            parse(value)
        except FAULTS as error:
            # Decimal's own errors say where in its code they arose.
            why = str(error) if isinstance(error, ValueError) else "it is not a number"
            bad[name] = Unread(name, why, value)
    if not bad:
        return wire, []
    new: dict[str, Any] = {name: None for name in bad if name in fields}
    return msgspec.structs.replace(wire, rejected=(), **new), list(bad.values())


def rejected_fields(
    bad: Iterable[Unread], good: WireRow, columns: Columns, stand_ins: StandIns
) -> tuple[RejectedField, ...]:
    """What was rejected, with the columns that have no value because of it: none where a field of
    the other generation says it, or where it is known from elsewhere."""
    others = {**stand_ins, **{newer: older for older, newer in stand_ins.items()}}
    found = []
    for one in bad:
        other = others.get(one.name)
        said = other is not None and getattr(good, other) is not None
        found.append(one.field(() if said else columns.get(one.name, ())))
    return tuple(found)


# Quotes change with every trade; an unknown field of these names is one too.
_VOLATILE_PREFIXES = (
    "yes_bid",
    "yes_ask",
    "no_bid",
    "no_ask",
    "last_price",
    "previous_",
    "volume",
    "open_interest",
    "liquidity",
)


def lasting(unknown: Mapping[str, Any]) -> dict[str, Any]:
    """Of unknown fields those that a row keeps in its `extra`."""
    return {
        name: value for name, value in unknown.items() if not name.startswith(_VOLATILE_PREFIXES)
    }


def kept_values(bad: Iterable[Unread]) -> dict[str, Any]:
    """What a row keeps of its rejected fields in its `extra`."""
    return {printable(one.name): one.kept for one in bad if one.kept is not None}


def category_text(category: str | None) -> str | None:
    # The column's width; the longest real one has 24 characters.
    return category[:MAX_TICKER_CHARACTERS] if category else None
