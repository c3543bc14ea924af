"""What was made of one row, change by change (docs/history.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql

from ssmd_api.rows import Row, named
from ssmd_common.columns import Table


@dataclass(frozen=True, slots=True)
class Version:
    """What a transaction made of a row, without the columns that are not recorded."""

    number: int
    """Later changes have larger ones."""
    at: str
    xid: int
    kind: str
    """added, changed or removed."""
    data: Row | None
    """The row from then on; None where it was removed."""
    before: Row | None
    """The row that was removed."""
    changes: dict[str, Row]
    """Of a row that was changed, by column: `old` and `new`."""


def of_composite(alias: LiteralString, table: Table) -> sql.Composed:
    """The columns of a row that is a value of the query."""
    return sql.SQL(", ").join(
        sql.SQL("(v.{}).{}").format(sql.Identifier(alias), sql.Identifier(name))
        for name in table.names
    )


def version(table: Table, values: Sequence[Any]) -> Version:
    """Of a row of the query `versions`, where the table has the columns that are recorded."""
    number, at, xid, kind, changed, *rest = values
    before, after = named(table, rest), named(table, rest[len(table.names) :])
    return Version(
        number,
        at,
        xid,
        kind,
        None if kind == "removed" else after,
        before if kind == "removed" else None,
        {
            name: {"old": before[name], "new": after[name]}
            for name in table.names
            if kind == "changed" and name in changed and before[name] != after[name]
        },
    )
