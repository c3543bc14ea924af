"""Ranges of the columns that an index orders: `volume.gte=100`, `close_time.lt=24h`,
`strike_date.null=true`. Which columns have them follows from the registry: those that sort a list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from ssmd_api.parameters import Parameters
from ssmd_common.columns import Column, Kind, Table

Value = int | datetime | bool


class Operator(StrEnum):
    """How a column's value is compared; `null` takes true or false."""

    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    NULL = "null"


LOWER: Final = (Operator.GT, Operator.GTE)
UPPER: Final = (Operator.LT, Operator.LTE)
_KINDS: Final = (Kind.INTEGER, Kind.TIME)


@dataclass(frozen=True, slots=True)
class Range:
    """One condition on one column."""

    column: str
    operator: Operator
    value: Value

    @property
    def name(self) -> str:
        """As a request asks for it."""
        return f"{self.column}.{self.operator}"


Bound = tuple[str, Operator]
"""A column, and how it is compared."""


def ranged(table: Table) -> list[Column]:
    """The numbers and times of a table that an index orders."""
    return [column for column in table.columns if column.sorts and column.kind in _KINDS]


def read(table: Table, given: Parameters, older: Mapping[str, Bound]) -> tuple[Range, ...]:
    """The ranges that a request asks for. `older` are filters of other names that say the same as
    a range; what contradicts or repeats another is a fault of the request."""
    found: list[Range] = []
    for column in ranged(table):
        here = [
            Range(column.name, operator, value)
            for operator in Operator
            if (value := _value(given, column, operator)) is not None
        ]
        others = [
            (name, operator)
            for name, (named, operator) in older.items()
            if named == column.name and given.has(name)
        ]
        _check(given, here, others)
        found += here
    _explain(given, table)
    return tuple(found)


def _value(given: Parameters, column: Column, operator: Operator) -> Value | None:
    name = f"{column.name}.{operator}"
    given.recorded(name, column)
    if operator is Operator.NULL:
        return given.flag(name)
    return given.moment(name) if column.kind is Kind.TIME else given.number(name, 0)


def _check(
    given: Parameters, here: Sequence[Range], others: Sequence[tuple[str, Operator]]
) -> None:
    asked = [*others, *((each.name, each.operator) for each in here)]
    lower = [name for name, operator in asked if operator in LOWER]
    upper = [name for name, operator in asked if operator in UPPER]
    for names in (lower, upper):
        for name in names[1:]:
            given.fault(name, f"bounds the same side as {names[0]}: give one of them")
    for each in here:
        if each.operator is Operator.NULL and each.value and (lower or upper):
            beside = (lower + upper)[0]
            given.fault(each.name, f"leaves nothing beside {beside}: what is null is in no range")
    by_side = {each.operator in LOWER: each for each in here if each.operator is not Operator.NULL}
    if len(by_side) == 2:
        low, high = by_side[True], by_side[False]
        touches = low.operator is Operator.GTE and high.operator is Operator.LTE
        if low.value > high.value or (low.value == high.value and not touches):  # type: ignore[operator]
            given.fault(high.name, f"leaves nothing beside {low.name}")


def _explain(given: Parameters, table: Table) -> None:
    """Say of columns that are no filters what is one."""
    of_ranges = sorted((column.name for column in ranged(table)), key=len, reverse=True)
    for name in given.asked():
        column, _, operator = name.partition(".")
        if column in of_ranges and not operator:
            given.explain(name, f"is no filter by itself: say {name}.gte and {name}.lte")
        elif column in table.names and column not in of_ranges and operator:
            listed = ", ".join(each.name for each in ranged(table))
            given.explain(name, f"goes by {column}, which no index orders; these have: {listed}")
        elif near := next((each for each in of_ranges if each in name), None):
            is_upper = any(word in name for word in _OF_UPPER)
            ranges = f"{near}.{Operator.LT if is_upper else Operator.GTE}"
            given.explain(name, f"is unknown here; the nearest is {ranges} ({_ALL})")


_OF_UPPER: Final = ("max", "before", "until", "below", "less", "<")
"""Parts of names that others give to an upper bound."""
_ALL: Final = f"there are {', '.join(Operator)}"
