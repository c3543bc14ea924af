"""What a column is, read from the one line that declares it in `ssmd_common.models`. Pure.

A line has the column's name and type; what these do not say stands in a `Column` beside the type.
Whoever needs the columns of a table goes by `ssmd_common.tables`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec


class Kind(StrEnum):
    """What a column holds, by PostgreSQL's name of the type; narrower ones count as these."""

    TEXT = "text"
    INTEGER = "int8"
    NUMERIC = "numeric"
    TIME = "timestamptz"
    BOOLEAN = "bool"
    TEXTS = "_text"
    JSON = "jsonb"
    BYTES = "bytea"


_KINDS: Final[Mapping[Any, Kind]] = {
    str: Kind.TEXT,
    int: Kind.INTEGER,
    Decimal: Kind.NUMERIC,
    datetime: Kind.TIME,
    bool: Kind.BOOLEAN,
    list[str]: Kind.TEXTS,
    list[Any]: Kind.JSON,
    dict[str, Any]: Kind.JSON,
    msgspec.Raw: Kind.JSON,
    bytes: Kind.BYTES,
}


Rounding = Callable[[Decimal | None], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. Beside a type only what its name and type do not say; these are filled in."""

    name: str = ""
    kind: Kind = Kind.TEXT
    note: str = ""
    """What users read of it, in OpenAPI."""
    sorts: bool = False
    """A list can be sorted by it, with an index or few rows."""
    derived: bool = False
    """No writer provides it, its statements do: None in a row that is to be written."""
    observation: bool = False
    """It says when the row was seen: it follows a change, and is none by itself."""
    volatile: bool = False
    """It changes all the time, and history does not keep it (docs/history.md)."""
    exact: str = ""
    """The column of which this one is the rounded value."""
    rounding: Rounding | None = None
    """How it is rounded."""


@dataclass(frozen=True)
class Table:
    """A table, or some of its columns in an order of their own."""

    name: str
    columns: tuple[Column, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def sorts(self) -> dict[str, Kind]:
        """The columns to sort by."""
        return {column.name: column.kind for column in self.columns if column.sorts}

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def __getitem__(self, name: str) -> Column:
        """KeyError where there is no such column."""
        return self._by_name[name]

    def only(self, *names: str) -> "Table":
        """These columns, in this order; KeyError as above."""
        return Table(self.name, tuple(self[name] for name in names))

    def without(self, *names: str) -> "Table":
        """All columns but these; KeyError as above."""
        left_out = {self[name] for name in names}
        return Table(self.name, tuple(each for each in self.columns if each not in left_out))


def columns_of(row: type[msgspec.Struct]) -> tuple[Column, ...]:
    """The columns that a row declares, in order; `rejected` is none. KeyError for a type that no
    column has."""
    return tuple(
        _column(field.name, field.type)
        for field in msgspec.structs.fields(row)
        if field.name != "rejected"
    )


def _column(name: str, annotation: Any) -> Column:
    declared = Column()
    if get_origin(annotation) is Annotated:
        annotation, declared = get_args(annotation)
    return replace(declared, name=name, kind=kind_of(annotation))


def kind_of(annotation: Any) -> Kind:
    """What a column of this type holds, whether or not it may be None; KeyError as above."""
    types = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    [kind] = [_KINDS[each] for each in types if each is not NoneType]
    return kind
