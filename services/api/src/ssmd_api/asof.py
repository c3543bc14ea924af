"""Rows as the database knew them at a moment (docs/history.md).

A query asks for tables by their names. As of a moment these names stand for what the tables were
then: everything that can be asked of the present can be asked of the past, by the same SQL.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from ssmd_api.problems import Fault, bad_parameters
from ssmd_api.shapes import Shape
from ssmd_common.columns import Table
from ssmd_common.times import spelled_moment

TABLES: Final[tuple[LiteralString, ...]] = ("series", "events", "markets", "series_fees", "fees")
"""Those whose past is recorded."""

AT: Final = "X-Ssmd-As-Of"
NOT_RECORDED: Final = "X-Ssmd-Not-Recorded"

GENERIC_PLANS: Final = "SET LOCAL plan_cache_mode = force_generic_plan"
"""For queries whose parameters do not matter to their plans: to plan takes longer than to run."""

_REFUSALS: Final = ("SH001", "SH002", "SH003")
_THEN: Final = sql.SQL(
    "{name} AS NOT MATERIALIZED (SELECT * FROM {source}(%(known_at)s::history.moment))"
)


def then(query: sql.Composable, *, by_key: str | None = None) -> sql.Composed:
    """The query as of the parameter `known_at`, a `history.moment`; `by_key` is the table of which
    the first rows in the order of its key are asked for, and no others."""
    if query.as_string().startswith("WITH "):
        # There is one WITH at a time; such a query has one row, and no order to keep.
        query = sql.SQL("SELECT * FROM ({}) of_then").format(query)
    return _tables(by_key) + query


@cache
def _tables(by_key: str | None) -> sql.Composed:
    tables = [
        _THEN.format(
            name=sql.Identifier(name),
            source=sql.Identifier(
                "history", f"{name}_as_of_by_key" if name == by_key else f"{name}_as_of"
            ),
        )
        for name in TABLES
    ]
    return sql.SQL("WITH {} ").format(sql.SQL(", ").join(tables))


@dataclass(frozen=True, slots=True)
class Past:
    """A moment that was found, and the connection with the transaction in which it stays known."""

    connection: psycopg.AsyncConnection[Any]
    moment: str
    """A `history.moment`."""
    at: datetime
    """As it was asked for."""

    def parameters(self, of_query: Mapping[str, Any]) -> dict[str, Any]:
        return {**of_query, "known_at": self.moment}


@contextmanager
def refused(parameter: str) -> Iterator[None]:
    """A moment that the record does not have is a 400 of the parameter that named it."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate not in _REFUSALS:
            raise
        detail = error.diag.message_primary or str(error)
        raise bad_parameters([Fault(parameter, detail)]) from None


def headers(at: datetime | None, *shown: Shape | Table) -> Mapping[str, str]:
    """What a reply says of the moment that it is of, and of what it has as null; nothing where it
    is of now."""
    if at is None:
        return {}
    names = dict.fromkeys(name for each in shown for name in unrecorded(each))
    said = {NOT_RECORDED: ", ".join(names)} if names else {}
    return {AT: spelled_moment(at), **said}


def unrecorded(shown: Shape | Table) -> list[str]:
    """The names of values that are not recorded, of a member's as `series.volume`."""
    if isinstance(shown, Table):
        return [column.name for column in shown.columns if column.volatile]
    found = unrecorded(shown.table)
    for member, table in shown.members.items():
        found += [f"{member}.{name}" for name in (unrecorded(table) if table else ())]
    return found
