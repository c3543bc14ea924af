"""Rows that PostgreSQL itself writes as JSON: the text that goes out, without a value between.

A value of jsonb may be nested too deep for readers, or have a number that none holds; those that
are long enough for it are marked in the text, and made fit to be sent here, as everywhere.
PostgreSQL spells times as we do from the year 1 to 9999; a row that has others says so, and they
are spelled here.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, LiteralString

from psycopg import sql

from ssmd_api import rows
from ssmd_api.shapes import Shape
from ssmd_common import times
from ssmd_common.columns import Column, Kind, Table

_SCALAR: Final = "/* scalar */ to_json"
_KNOWS_SCALARS: Final = 170_000

# Characters that control are written as \u0001 in JSON, so that these are never part of it.
_APART: Final = b"\x01"
_FAR: Final = b"\x02"
_JSON_TEXTS: Final = "of_json"
FIT_BYTES: Final = 256
"""What PostgreSQL has as jsonb, and is no longer, can be sent as it is: it is nested less than
`rows.MAX_DEPTH` deep, and its numbers have fewer digits than a double's may."""

# `{name}` is what stands before the value. Of what is NULL, as most are, nothing is put together.
_WRITTEN: Final[Mapping[Kind, LiteralString]] = {
    Kind.TEXT: f"{{name}} || coalesce({_SCALAR}({{value}})::text, 'null')",
    Kind.TEXTS: "{name} || coalesce(array_to_json({value})::text, 'null')",
    Kind.INTEGER: "coalesce({name} || {value}::text, {name} || 'null')",
    Kind.BOOLEAN: "coalesce({name} || {value}::text, {name} || 'null')",
    Kind.NUMERIC: "coalesce({name} || '\"' || {value}::text || '\"', {name} || 'null')",
    # The session's zone is UTC.
    Kind.TIME: f"coalesce({{name}} || replace({_SCALAR}({{value}})::text, '+00:00\"', 'Z\"'),"
    " {name} || 'null')",
    # A text already (`Rendering.joins`).
    Kind.JSON: f"{{name}} || CASE WHEN octet_length({{value}}) > {FIT_BYTES}"
    " THEN E'\\x01' || {value} || E'\\x01' ELSE coalesce({value}, 'null') END",
}
_NONE_NESTED: Final[Mapping[str, sql.Composable]] = {}
_IS_FAR: Final = "(least({0}) < '0001-01-01' OR greatest({0}) >= '10000-01-01')"


class Rendering:
    """The columns of a query whose rows have a shape, and what becomes of them.

    `aliases` names the table of each member, and that of the row itself as "". `nested` has the
    texts of members that a sub-select has written, from other such queries: JSON but for what
    `rows` does, never NULL.
    """

    def __init__(
        self,
        shape: Shape,
        aliases: Mapping[str, LiteralString],
        nested: Mapping[str, sql.Composable] = _NONE_NESTED,
        **values: LiteralString,
    ) -> None:
        """`values`: the SQL of members that are no tables, each a number, and of the row's own
        columns that its table does not have."""
        self.shape = shape
        self._aliases = aliases
        self._nested = nested
        self._values = values
        # A text is put into a query at once, and its hundreds of parts are not.
        self.text: Final = sql.SQL(self._text().as_string())
        """The row's JSON, but for what `rows` does."""
        self.joins: Final = sql.SQL(self._json_texts().as_string())
        """What the text needs after the tables."""

    def rows(self, texts: Sequence[bytes]) -> Sequence[bytes]:
        """The JSON of rows, of their texts."""
        # Of one text it is found out ten times as fast.
        whole = b"".join(texts)
        if _APART in whole or _FAR in whole:
            return [self._spelled(_fit(text)) for text in texts]
        return texts

    def _text(self) -> sql.Composable:
        """Pieces, each a name with its value, put together two by two: of a long text that grows
        piece by piece, all would be copied each time."""
        return _joined([self._far(), *self._pieces(), sql.Literal(self._closing())])

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
            for column in table.columns if table and member not in self._nested else ():
                yield member, column

    def _pieces(self) -> Iterator[sql.Composable]:
        before = "{"
        for column in self.shape.table.columns:
            value = self._values.get(column.name)
            name = sql.Literal(f'{before}"{column.name}":')
            yield _spelling(name, column, value) if value else self._written(name, "", column)
            before = ","
        for member, table in self.shape.members.items():
            if table is None or member in self._nested:
                name = sql.Literal(f'{before}"{member}":')
                written = self._nested.get(member) or sql.SQL(self._values[member])
                yield sql.SQL("{} || {}").format(name, written)
                before = ","
                continue
            before += f'"{member}":{{'
            for column in table.columns:
                name = sql.Literal(f'{before}"{column.name}":')
                yield self._written(name, member, column)
                before = ","
            before = "},"

    def _written(self, name: sql.Literal, member: str, column: Column) -> sql.Composed:
        alias = self._aliases[member]
        value = sql.Identifier(alias, column.name)
        if column.kind is Kind.JSON:
            value = sql.Identifier(_JSON_TEXTS, f"{alias}.{column.name}")
        return sql.SQL(_WRITTEN[column.kind]).format(name=name, value=value)

    def _closing(self) -> str:
        last = [*self.shape.members.items()][-1:]
        is_open = last and last[0][1] is not None and last[0][0] not in self._nested
        return "}}" if is_open else "}"

    def _far(self) -> sql.Composable:
        """What stands before a row that has times that PostgreSQL spells otherwise."""
        found = [
            sql.SQL(self._values[column.name])
            if column.name in self._values
            else sql.Identifier(self._aliases[member], column.name)
            for member, table in {"": self.shape.table, **self.shape.members}.items()
            if member not in self._nested
            for column in _times(table)
        ]
        if not found:
            return sql.SQL("''")
        return sql.SQL("CASE WHEN {} THEN {} ELSE '' END").format(
            sql.SQL(_IS_FAR).format(sql.SQL(", ").join(found)), sql.Literal(_FAR.decode())
        )

    def _spelled(self, text: bytes) -> bytes:
        """A row as `ssmd_common.times` spells its times: what is nested says so within."""
        if _FAR not in text:
            return text
        row = rows.decode(text.replace(_FAR, b""), rows.ROW_DEPTH)
        for member, table in {"": self.shape.table, **self.shape.members}.items():
            within = row[member] if member else row
            for each in within if isinstance(within, list) else [within]:
                for column in _times(table) if each else ():
                    if (spelling := each[column.name]) is not None:
                        each[column.name] = respelled(spelling)
        return rows.encode(row)


def _times(table: Table | None) -> list[Column]:
    return [column for column in table.columns if column.kind is Kind.TIME] if table else []


def _spelling(name: sql.Literal, column: Column, value: LiteralString) -> sql.Composed:
    return sql.SQL(_WRITTEN[column.kind]).format(name=name, value=sql.SQL(value))


def _joined(pieces: Sequence[sql.Composable]) -> sql.Composable:
    if len(pieces) == 1:
        return pieces[0]
    half = len(pieces) // 2
    return sql.SQL("({} || {})").format(_joined(pieces[:half]), _joined(pieces[half:]))


@lru_cache(maxsize=2000)
def understood(query: str, version: int) -> str:
    """The query as a server of that version runs it best: from 17 on it writes a scalar without
    looking up its type for each row."""
    return query.replace(_SCALAR, "JSON_SCALAR") if version >= _KNOWS_SCALARS else query


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
