"""Rows of PostgreSQL as JSON, the way the change stream's `data` shows them.

Integers are JSON integers, NUMERIC strings as PostgreSQL prints them, timestamps RFC 3339 UTC with
a fraction only where there is one, arrays and jsonb JSON.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

from ssmd_common.sql import Queries

queries: Final = Queries("ssmd_stream", "rowjson.sql")

_TEXT: Final = "coalesce(t.{column}::text, 'null')"
# Years before 1 and after 9999 as ISO 8601 extends them; infinity keeps PostgreSQL's word.
_TIME: Final = (
    "CASE WHEN t.{column} IS NULL THEN 'null' ELSE '\"' ||"
    " CASE WHEN t.{column} >= '0001-01-01Z' AND t.{column} < '10000-01-01Z'"
    " THEN replace((t.{column} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'"
    " WHEN NOT isfinite(t.{column}) THEN t.{column}::text"
    " WHEN t.{column} > '0001-01-01Z'"
    " THEN '+' || replace((t.{column} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'"
    " ELSE CASE WHEN extract(year FROM t.{column} AT TIME ZONE 'UTC') < -1 THEN '-' ELSE '' END"
    " || lpad((-1 - extract(year FROM t.{column} AT TIME ZONE 'UTC'))::text, 4, '0')"
    " || replace(substr(rtrim((t.{column} AT TIME ZONE 'UTC')::text, ' BC'), 5), ' ', 'T') || 'Z'"
    " END || '\"' END"
)
_RENDERED: Final = {
    **dict.fromkeys(("int2", "int4", "int8", "bool", "jsonb"), _TEXT),
    "numeric": "coalesce('\"' || t.{column}::text || '\"', 'null')",
    "timestamptz": _TIME,
}
_OTHER: Final = "coalesce(to_json(t.{column})::text, 'null')"
_MOST_ARGUMENTS: Final = 100
"""A function of PostgreSQL takes no more."""


async def rows_as_json(
    connection: psycopg.AsyncConnection[Any],
    tables: Sequence[str],
    *,
    without: Collection[str] = (),
) -> dict[str, sql.Composed]:
    """For each table an expression for a row `t` of it as JSON, as text, without some columns.

    `%(close)s` of the statement ends it: `}`, or more members before the brace. The session makes
    timestamps print the same everywhere from then on.
    """
    await connection.execute("SET datestyle = 'ISO'")
    found = {}
    for table in tables:
        cursor = await connection.execute(queries.columns, (table,))
        columns = await cursor.fetchall()
        found[table] = _as_json([each for each in columns if each[0] not in without])
    return found


def _as_json(columns: Sequence[tuple[str, str]]) -> sql.Composed:
    """An expression for the row as JSON.

    It says what row_to_json would, which looks every column's type up anew for every row.
    """
    parts: list[sql.Composable] = []
    for column, kind in columns:
        parts.append(sql.Literal(("," if parts else "{") + f'"{column}":'))
        rendered = sql.SQL(_RENDERED.get(kind, _OTHER))
        parts.append(rendered.format(column=sql.Identifier(column)))
    parts.append(sql.SQL("%(close)s::text"))
    calls = [
        sql.SQL("concat({})").format(sql.SQL(", ").join(parts[at : at + _MOST_ARGUMENTS]))
        for at in range(0, len(parts), _MOST_ARGUMENTS)
    ]
    return sql.SQL(" || ").join(calls)
