"""Rows that PostgreSQL itself writes as JSON: the text that goes out, without a value between.

A value of jsonb may be nested too deep for readers, or have a number that none holds; those that
are long enough for it are marked in the text, and made fit to be sent here, as everywhere.
PostgreSQL spells times as we do from the year 1 to 9999; a row that has others says so, and they
are spelled here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, LiteralString

from psycopg import sql
from psycopg.pq.abc import PGresult

from ssmd_api import rows
from ssmd_api.shapes import Shape
from ssmd_common import times
from ssmd_common.columns import Column, Kind, Table

_MOST_ARGUMENTS: Final = 98
"""A function of PostgreSQL's takes 100."""

# Characters that control are written as \u0001 in JSON, so that this is never part of it.
_APART: Final = b"\x01"
_JSON_TEXTS: Final = "of_json"
_FIT_BYTES: Final = 256
"""What PostgreSQL has as jsonb, and is no longer, can be sent as it is: it is nested less than
`rows.MAX_DEPTH` deep, and its numbers have fewer digits than a double's may."""

_WRITTEN: Final[Mapping[Kind, LiteralString]] = {
    Kind.TEXT: "coalesce(to_json({})::text, 'null')",
    Kind.TEXTS: "coalesce(to_json({})::text, 'null')",
    Kind.INTEGER: "coalesce({}::text, 'null')",
    Kind.BOOLEAN: "coalesce({}::text, 'null')",
    Kind.NUMERIC: "coalesce('\"' || {}::text || '\"', 'null')",
    # The session's zone is UTC.
    Kind.TIME: "coalesce(replace(to_json({})::text, '+00:00\"', 'Z\"'), 'null')",
    # A text already (`Rendering.joins`).
    Kind.JSON: f"CASE WHEN octet_length({{0}}) > {_FIT_BYTES}"
    f" THEN E'\\x01' || {{0}} || E'\\x01' ELSE coalesce({{0}}, 'null') END",
}
_NEAR: Final = "(least({0}) < '0001-01-01' OR greatest({0}) >= '10000-01-01')"


class Rendering:
    """The columns of a query whose rows have a shape, and what becomes of them.

    `aliases` names the table of each member, and that of the row itself as "".
    """

    def __init__(
        self,
        shape: Shape,
        aliases: Mapping[str, LiteralString],
        **values: LiteralString,
    ) -> None:
        """`values`: the SQL of members that are no tables, each a number, and of the row's own
        columns that its table does not have."""
        self.shape = shape
        self._aliases = aliases
        self._values = values
        # A text is put into a query at once, and its hundreds of parts are not.
        self.columns: Final = sql.SQL(
            sql.SQL("{}, {}").format(self._text(), self._is_far()).as_string()
        )
        """The row's text, and whether it has times that PostgreSQL spells otherwise."""
        self.joins: Final = sql.SQL(self._json_texts().as_string())
        """What the columns need after the tables."""

    def rows(self, found: PGresult, count: int) -> list[bytes]:
        """The JSON of the first rows of a result that begins with these columns."""
        texts = [found.get_value(row, 0) or b"" for row in range(count)]
        fit = [_fit(text) if _APART in text else text for text in texts]
        if any(found.get_value(row, 1) == b"t" for row in range(count)):
            return list(map(self._spelled, fit))
        return fit

    def _text(self) -> sql.Composable:
        """`format('{"ticker":%s,"title":%s}', …)`, for psycopg, to which `%%` is `%`; several where
        one would have too many arguments."""
        found, pattern, values = [], "{", list[sql.Composable]()
        for opening, value in self._parts():
            pattern += opening.replace("%", "%%%%") + "%%s"
            values.append(value)
            if len(values) == _MOST_ARGUMENTS:
                found.append(_formatted(pattern, values))
                pattern, values = "", []
        found.append(_formatted(pattern + self._closing(), values))
        return found[0] if len(found) == 1 else sql.SQL(" || ").join(found)

    def _json_texts(self) -> sql.Composable:
        """The texts of values of jsonb, each made once: what is long is found out by it."""
        texts = [
            sql.SQL("{}::text AS {}").format(
                sql.Identifier(self._aliases[member], column.name),
                sql.Identifier(f"{self._aliases[member]}.{column.name}"),
            )
            for member, column in self._columns()
            if column.kind is Kind.JSON
        ]
        if not texts:
            return sql.SQL("")
        return sql.SQL("CROSS JOIN LATERAL (SELECT {} OFFSET 0) {}").format(
            sql.SQL(", ").join(texts), sql.Identifier(_JSON_TEXTS)
        )

    def _columns(self) -> Iterator[tuple[str, Column]]:
        """Those of tables, by member."""
        for column in self.shape.table.columns:
            if column.name not in self._values:
                yield "", column
        for member, table in self.shape.members.items():
            for column in table.columns if table else ():
                yield member, column

    def _parts(self) -> Iterator[tuple[str, sql.Composable]]:
        """What stands before each value, and the value."""
        before = ""
        for column in self.shape.table.columns:
            value = self._values.get(column.name)
            part = _spelling(column, value) if value else _written(self._aliases[""], column)
            yield f'{before}"{column.name}":', part
            before = ","
        for member, table in self.shape.members.items():
            if table is None:
                yield f'{before}"{member}":', sql.SQL(self._values[member])
                before = ","
                continue
            before += f'"{member}":{{'
            for column in table.columns:
                yield f'{before}"{column.name}":', _written(self._aliases[member], column)
                before = ","
            before = "},"

    def _closing(self) -> str:
        last = [*self.shape.members.values()][-1:]
        return "}}" if last and last[0] is not None else "}"

    def _is_far(self) -> sql.Composable:
        found = [
            sql.SQL(self._values[column.name])
            if column.name in self._values
            else sql.Identifier(self._aliases[member], column.name)
            for member, table in {"": self.shape.table, **self.shape.members}.items()
            for column in _times(table)
        ]
        if not found:
            return sql.SQL("false")
        return sql.SQL(_NEAR).format(sql.SQL(", ").join(found))

    def _spelled(self, text: bytes) -> bytes:
        """A row as `ssmd_common.times` spells its times."""
        row = rows.decode(text, rows.ROW_DEPTH)
        for member, table in {"": self.shape.table, **self.shape.members}.items():
            within = row[member] if member else row
            for column in _times(table):
                if (spelling := within[column.name]) is not None:
                    within[column.name] = respelled(spelling)
        return rows.encode(row)


def _times(table: Table | None) -> list[Column]:
    return [column for column in table.columns if column.kind is Kind.TIME] if table else []


def _written(alias: LiteralString, column: Column) -> sql.Composed:
    value = sql.Identifier(alias, column.name)
    if column.kind is Kind.JSON:
        value = sql.Identifier(_JSON_TEXTS, f"{alias}.{column.name}")
    return sql.SQL(_WRITTEN[column.kind]).format(value)


def _spelling(column: Column, value: LiteralString) -> sql.Composed:
    return sql.SQL(_WRITTEN[column.kind]).format(sql.SQL(value))


def _formatted(pattern: str, values: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL("format({})").format(sql.SQL(", ").join([sql.Literal(pattern), *values]))


def respelled(spelling: str) -> str:
    """A time as to_json writes it, and perhaps the query has changed it."""
    plain = spelling.replace("T", " ").removesuffix("Z")
    if plain == spelling:
        return spelling
    bc = plain.endswith(" BC")
    clock = plain.removesuffix(" BC").removesuffix("+00:00")
    return times.spelled(f"{clock}+00{' BC' if bc else ''}".encode()).decode()


def _fit(text: bytes) -> bytes:
    """A row's text with the values of jsonb that are marked in it made fit to be sent."""
    parts = text.split(_APART)
    parts[1::2] = [rows.encode(rows.loaded_json(part)) for part in parts[1::2]]
    return b"".join(parts)
