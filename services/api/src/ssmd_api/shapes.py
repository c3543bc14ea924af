"""What a row shows: which columns of its table, and of what else is beside it.

`include=` adds members to it or shows them whole; then `fields=` and `exclude=` choose: a shape
with fewer columns is a shape. Names are columns, members (`event`), and columns of members
(`event.title`).
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final

from ssmd_api import rows
from ssmd_api.rows import Row
from ssmd_common import tables
from ssmd_common.columns import Table


class UnknownField(ValueError):
    """No column and no member has the name; the text names the nearest, or what it comes with."""

    def __init__(self, name: str, nearest: str, include: str = "") -> None:
        said = f"the nearest is {nearest!r}"
        if include:
            said = f"it comes with include={include}"
        super().__init__(f"{name[:64]!r} is unknown here; {said}")


@dataclass(frozen=True)
class Shape:
    """The table's columns, then the members, each a row (or a list of rows) with columns of its
    own, or with None one value."""

    table: Table
    members: Mapping[str, Table | None] = field(default_factory=dict)
    includes: Mapping[str, Table] = field(default_factory=dict, compare=False)
    """Members that `include=` adds, or shows with these columns where they are there anyway."""

    def __hash__(self) -> int:
        return hash((self.table.name, self.names))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All that can be asked for, in the row's order."""
        found = list(self.table.names)
        for member, table in self.members.items():
            found += [member, *(f"{member}.{name}" for name in (table.names if table else ()))]
        return tuple(found)

    @property
    def cells(self) -> tuple[str, ...]:
        """The names of values where each row is one line: a list of rows is one value."""
        return tuple(
            name
            for name in self.names
            if name in MANY or (self.members.get(name) is None and _member(name) not in MANY)
        )

    def including(self, names: Iterable[str]) -> "Shape":
        """With these of `includes`; KeyError of others."""
        asked = {name: self.includes[name] for name in self.includes if name in set(names)}
        return Shape(self.table, {**self.members, **asked}, self.includes)

    @property
    def leaves(self) -> tuple[str, ...]:
        """The names of values: columns of a flat row."""
        return tuple(name for name in self.names if self.members.get(name) is None)

    def selected(self, fields: Sequence[str], exclude: Sequence[str]) -> "Shape":
        """Only these fields (all where there are none), without the excluded ones; in this order.

        Raises:
            UnknownField: of one that is not here.
        """
        return _selected(self, tuple(fields), tuple(exclude))

    def choose(self, fields: Sequence[str], exclude: Sequence[str]) -> "Shape":
        """The same, not remembered."""
        for name in (*fields, *exclude):
            if name not in self.names:
                more = self.including(self.includes).names
                if name in more:
                    raise UnknownField(name, name, _member(name))
                raise unknown(name, self.names)
        shown, hidden = set(fields or self.names), set(exclude)
        return self._keeping(
            lambda *names: not shown.isdisjoint(names) and hidden.isdisjoint(names)
        )

    def pick(self, row: Mapping[str, Any]) -> Row:
        """What the shape has of a row that has it all, members after columns."""
        found: Row = rows.pick(row, self.table)
        for member, table in self.members.items():
            value = row[member]
            if table is None or value is None:
                found[member] = value
            elif isinstance(value, list):
                found[member] = [rows.pick(each, table) for each in value]
            else:
                found[member] = rows.pick(value, table)
        return found

    def _keeping(self, keeps: Callable[[str, str], bool]) -> "Shape":
        """`keeps` is given a name and the member that it is of, if any."""
        members: dict[str, Table | None] = {}
        for member, table in self.members.items():
            if table is None:
                if keeps(member, member):
                    members[member] = None
                continue
            names = [name for name in table.names if keeps(f"{member}.{name}", member)]
            if names:
                members[member] = table.only(*names)
        names = [name for name in self.table.names if keeps(name, name)]
        return Shape(self.table.only(*names), members)


@lru_cache(maxsize=1000)
def _selected(whole: Shape, fields: tuple[str, ...], exclude: tuple[str, ...]) -> Shape:
    """Most ask for the same again and again."""
    return whole.choose(fields, exclude)


def _member(name: str) -> str:
    """The member that a name is, or is of."""
    return name.partition(".")[0]


def unknown(name: str, known: Iterable[str]) -> UnknownField:
    """The error of a name that none of the known ones is."""
    known = list(known)
    near = difflib.get_close_matches(name[:64].lower(), known, 1, 0.0)
    return UnknownField(name, near[0])


MANY: Final = ("markets", "lifecycle")
"""Members that are lists of rows, in every shape."""

_FEES: Final = {"fees": rows.FEES_IN_FORCE}
_OF_EVENTS: Final = {"series": tables.SERIES, "markets": tables.MARKETS, **_FEES}
_OF_MARKETS: Final = {
    "event": tables.EVENTS,
    "series": tables.SERIES,
    "lifecycle": tables.LIFECYCLE,
    **_FEES,
}

SERIES: Final = Shape(tables.SERIES, includes=_FEES)
EVENTS: Final = Shape(tables.EVENTS, {"market_count": None}, _OF_EVENTS)
MARKETS: Final = Shape(
    rows.MARKET, {"event": rows.EVENT_OF_MARKET, "series": rows.SERIES_OF_MARKET}, _OF_MARKETS
)
"""Of lists and exports."""

ONE_SERIES: Final = Shape(tables.SERIES, {"fee": tables.SERIES_FEES, "counts": None}, _FEES)
ONE_EVENT: Final = Shape(
    tables.EVENTS,
    {"market_count": None, "series": tables.SERIES, "markets": tables.MARKETS},
    _OF_EVENTS,
)
ONE_MARKET: Final = Shape(
    rows.MARKET, {"event": tables.EVENTS, "series": tables.SERIES}, _OF_MARKETS
)
LOOKUP: Final = Shape(rows.LOOKUP, includes=_OF_MARKETS)
ANY_LOOKUP: Final = Shape(tables.MARKETS, includes=_OF_MARKETS)
"""Where fields are named: of all columns."""
LIFECYCLE: Final = Shape(tables.LIFECYCLE)

COLLECTIONS: Final = Shape(tables.COLLECTIONS)

LISTS: Final = {"series": SERIES, "events": EVENTS, "markets": MARKETS}


def of_tables(
    chosen: Iterable[str], fields: Sequence[str], exclude: Sequence[str]
) -> dict[str, Table]:
    """The columns of the rows of several tables: each has those of the fields that it knows. A
    table that has none of them is left out.

    Raises:
        UnknownField: no table has it.
    """
    asked = {name: tables.PUBLISHED[name] for name in chosen}
    known = list(dict.fromkeys(name for table in asked.values() for name in table.names))
    for name in (*fields, *exclude):
        if name not in known:
            raise unknown(name, known)
    found = {}
    for name, table in asked.items():
        left = [
            column
            for column in table.names
            if (not fields or column in fields) and column not in exclude
        ]
        if left:
            found[name] = table.only(*left)
    return found
