"""Rows that PostgreSQL itself writes as JSON: the text that goes out, without a value between.

For each row the query yields its text in pieces, between them the values of jsonb columns: these
are made fit to be sent one by one, as everywhere. PostgreSQL spells times as we do from the year 1
to 9999; a row that has others says so, and they are spelled here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, LiteralString

from psycopg import sql
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader

from ssmd_api import rows
from ssmd_api.shapes import Shape
from ssmd_common import times
from ssmd_common.columns import Column, Kind, Table

_MOST_ARGUMENTS: Final = 98
"""A function of PostgreSQL's takes 100."""
_REMEMBERED_LENGTH: Final = 512

# Characters that control are written as \u0001 in JSON, so that these are never part of it.
_JSON_APART: Final = "\x01"
ROWS_APART: Final = "\x02"

_WRITTEN: Final[Mapping[Kind, LiteralString]] = {
    Kind.TEXT: "coalesce(to_json({}), 'null')",
    Kind.TEXTS: "coalesce(to_json({}), 'null')",
    Kind.INTEGER: "coalesce({}::text, 'null')",
    Kind.BOOLEAN: "coalesce({}::text, 'null')",
    Kind.NUMERIC: "coalesce('\"' || {}::text || '\"', 'null')",
    # The session's zone is UTC.
    Kind.TIME: "coalesce(replace(to_json({})::text, '+00:00\"', 'Z\"'), 'null')",
}
_NEAR: Final = "(least({0}) < '0001-01-01' OR greatest({0}) >= '10000-01-01')"


@dataclass(frozen=True, slots=True)
class Nested:
    """The SQL of a member that a sub-select has written already: its JSON, never NULL, and whether
    that has far times."""

    text: sql.Composable
    far: sql.Composable


_NONE_NESTED: Final[Mapping[str, Nested]] = {}


class Rendering:
    """The columns of a query whose rows have a shape, and what becomes of them.

    `aliases` names the table of each member, and that of the row itself as "".
    """

    def __init__(
        self,
        shape: Shape,
        aliases: Mapping[str, LiteralString],
        nested: Mapping[str, Nested] = _NONE_NESTED,
        **values: LiteralString,
    ) -> None:
        """`values`: the SQL of members that are no tables, each a number, and of the row's own
        columns that its table does not have."""
        self.shape = shape
        self._aliases = aliases
        self._nested = nested
        self._values = values
        columns = [*self._pieces(), self._is_far()]
        *pieces, far = columns
        self.text: Final = sql.SQL(_in_one(pieces).as_string())
        """The same in one text, for `page`."""
        self.far: Final = far
        """Whether the row has times that PostgreSQL spells otherwise."""
        if nested:
            # What is nested has its values of jsonb within its text.
            columns = [self.text, far]
        # A text is put into a query at once, and its hundreds of parts are not.
        self.columns: Final = sql.SQL(sql.SQL(", ").join(columns).as_string())

    def row(self, values: Sequence[Any]) -> bytes:
        """The row's JSON, of the values of these columns."""
        *pieces, far = values
        if self._nested:
            return self.page(pieces[0].encode(), far=far)
        text = "".join(["null" if piece is None else piece for piece in pieces])
        return self._spelled(text.encode()) if far else text.encode()

    def page(self, text: bytes | None, *, far: bool | None) -> bytes:
        """The JSON of rows, with commas between, of their texts with `ROWS_APART` between; `far` if
        one of them is."""
        parts = (text or b"").split(_JSON_APART.encode())
        parts[1::2] = map(_json_text, parts[1::2])
        fit, apart = b"".join(parts), ROWS_APART.encode()
        if far:
            return b",".join(map(self._spelled, fit.split(apart)))
        return fit.replace(apart, b",")

    def _pieces(self) -> Iterator[sql.Composable]:
        """Texts, and between them columns of jsonb."""
        written: list[sql.Composable] = []
        constant = "{"
        for opening, part in self._parts():
            constant += opening
            if isinstance(part, tuple) and part[1].kind is Kind.JSON:
                yield _concat([*written, sql.Literal(constant)])
                yield sql.Identifier(part[0], part[1].name)
                written, constant = [], ""
                continue
            written.append(sql.Literal(constant))
            constant = ""
            written.append(part if isinstance(part, sql.Composable) else _written(*part))
            if len(written) >= _MOST_ARGUMENTS:
                yield _concat(written)
                written = []
        yield _concat([*written, sql.Literal(constant + self._closing())])

    def _parts(self) -> Iterator[tuple[str, sql.Composable | tuple[LiteralString, Column]]]:
        """What stands before each value, and the value."""
        before = ""
        for column in self.shape.table.columns:
            value = self._values.get(column.name)
            part = (self._aliases[""], column) if value is None else _spelling(column, value)
            yield f'{before}"{column.name}":', part
            before = ","
        for member, table in self.shape.members.items():
            if member in self._nested:
                yield f'{before}"{member}":', self._nested[member].text
                before = ","
                continue
            if table is None:
                yield f'{before}"{member}":', sql.SQL(self._values[member])
                before = ","
                continue
            before += f'"{member}":{{'
            for column in table.columns:
                yield f'{before}"{column.name}":', (self._aliases[member], column)
                before = ","
            before = "},"

    def _closing(self) -> str:
        last = [*self.shape.members.items()][-1:]
        is_open = last and last[0][1] is not None and last[0][0] not in self._nested
        return "}}" if is_open else "}"

    def _is_far(self) -> sql.Composable:
        found = [
            sql.SQL(self._values[column.name])
            if column.name in self._values
            else sql.Identifier(self._aliases[member], column.name)
            for member, table in {"": self.shape.table, **self.shape.members}.items()
            if member not in self._nested
            for column in _times(table)
        ]
        own: sql.Composable = sql.SQL("false")
        if found:
            own = sql.SQL(_NEAR).format(sql.SQL(", ").join(found))
        nested = [sql.SQL("coalesce({}, false)").format(each.far) for each in self._nested.values()]
        return sql.SQL(" OR ").join([own, *nested]) if nested else own

    def _spelled(self, text: bytes) -> bytes:
        """A row as `ssmd_common.times` spells its times."""
        row = rows.decode(text, rows.ROW_DEPTH)
        for member, table in {"": self.shape.table, **self.shape.members}.items():
            within = row[member] if member else row
            for each in within if isinstance(within, list) else [within]:
                for column in _times(table) if each else ():
                    if (spelling := each[column.name]) is not None:
                        each[column.name] = respelled(spelling)
        return rows.encode(row)


def register(context: AdaptContext) -> None:
    """Have a cursor yield jsonb as the text to send, and all else as `rows.register` does."""
    rows.register(context)
    context.adapters.register_loader("jsonb", _JsonText)


def _times(table: Table | None) -> list[Column]:
    return [column for column in table.columns if column.kind is Kind.TIME] if table else []


def _written(alias: LiteralString, column: Column) -> sql.Composed:
    return sql.SQL(_WRITTEN[column.kind]).format(sql.Identifier(alias, column.name))


def _spelling(column: Column, value: LiteralString) -> sql.Composed:
    return sql.SQL(_WRITTEN[column.kind]).format(sql.SQL(value))


def _concat(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL("concat({})").format(sql.SQL(", ").join(parts))


def respelled(spelling: str) -> str:
    """A time as to_json writes it, and perhaps the query has changed it."""
    plain = spelling.replace("T", " ").removesuffix("Z")
    if plain == spelling:
        return spelling
    bc = plain.endswith(" BC")
    clock = plain.removesuffix(" BC").removesuffix("+00:00")
    return times.spelled(f"{clock}+00{' BC' if bc else ''}".encode()).decode()


def _in_one(pieces: Sequence[sql.Composable]) -> sql.Composable:
    if len(pieces) == 1:
        return pieces[0]
    # What is NULL, as most are, has nothing to be made fit.
    value = sql.SQL("coalesce({0} || {1}::text || {0}, 'null')")
    apart = sql.Literal(_JSON_APART)
    return _concat(
        [
            value.format(apart, piece) if isinstance(piece, sql.Identifier) else piece
            for piece in pieces
        ]
    )


class _JsonText(Loader):
    def load(self, data: Buffer) -> str:
        return _json_text(bytes(data)).decode()


def _json_text(text: bytes) -> bytes:
    # Most are short and of many rows.
    return _remembered(text) if len(text) <= _REMEMBERED_LENGTH else _fit(text)


@lru_cache(maxsize=4096)
def _remembered(text: bytes) -> bytes:
    return _fit(text)


def _fit(text: bytes) -> bytes:
    return text if text == b"null" else rows.encode(rows.loaded_json(text))
