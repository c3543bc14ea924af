"""The SQL around the rows of a page, and what is taken from its result.

Each row comes with its text, which is sent as it is, and with what the next cursor and the age
need: of the first the last row's alone is read, of the second each distinct value once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql
from psycopg.postgres import types
from psycopg.pq.abc import PGresult

from ssmd_api import rows
from ssmd_api.cursors import Key, Keys
from ssmd_api.rendering import Rendering
from ssmd_api.rows import Row
from ssmd_common.columns import Table

_PAGE: Final = sql.SQL(
    "SELECT {row}, {ticker}, {observed}, {others}{keys} FROM {cut} {joins} ORDER BY {order}"
)
_TICKER, _OBSERVED, _OTHERS, _KEYS = 2, 3, 4, 5
"""Columns; the first two are the rendering's."""
_OBSERVED_AT: Final = "observed_at"
_LOADED: Final[Mapping[int, Callable[[bytes], str | int]]] = {
    types["int8"].oid: int,
    types["timestamptz"].oid: rows.spelled,
}
"""Of sort keys; others are texts."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The rows of a page: their JSON, with commas between, whether more follow, and the last one's
    sort keys and ticker; and what ages need, of rows that differ in
    it."""

    text: bytes
    more: bool
    keys: Keys
    ticker: str
    ages: Sequence[Row]


def of_page(
    rendering: Rendering,
    ticker: sql.Identifier,
    keys: Sequence[sql.Identifier],
    cut: sql.Composable,
    joins: sql.Composable,
    order: sql.Composable,
    aged: Sequence[tuple[LiteralString, Table]] = (),
) -> sql.Composed:
    """The query of a page's rows, and of one more, which only tells that more follow. `aged` are
    columns of tables by alias, of which the first has `observed_at`; the others' names begin with
    their table's."""
    others: sql.Composable = sql.SQL("NULL")
    observed: sql.Composable = sql.SQL("NULL")
    if aged:
        (alias, first), *_ = aged
        observed = sql.Identifier(alias, _OBSERVED_AT)
        pairs = [
            sql.SQL("{}, {}").format(sql.Literal(prefix + name), sql.Identifier(alias, name))
            for alias, table in aged
            for prefix in ["" if table is first else f"{table.name}."]
            for name in table.names
            if name != _OBSERVED_AT
        ]
        if pairs:
            others = sql.SQL("json_build_object({})").format(sql.SQL(", ").join(pairs))
    return _PAGE.format(
        row=rendering.columns,
        ticker=ticker,
        observed=observed,
        others=others,
        keys=sql.SQL("").join([sql.SQL(", {}").format(key) for key in keys]),
        cut=cut,
        joins=sql.SQL("{} {}").format(joins, rendering.joins),
        order=order,
    )


def taken(rendering: Rendering, found: PGresult, limit: int) -> Taken:
    """The page of up to `limit` rows."""
    count = min(found.ntuples, limit)
    text, ages = b",".join(rendering.rows(found, count)), list(_ages(found, count))
    if not count:
        return Taken(text, more=False, keys=(), ticker="", ages=ages)
    last = count - 1
    ticker = _loaded(found, last, _TICKER)
    keys = tuple([_loaded(found, last, number) for number in range(_KEYS, found.nfields)])
    return Taken(text, found.ntuples > limit, keys or (ticker,), str(ticker), ages)


def _loaded(found: PGresult, row: int, column: int) -> Key:
    value = found.get_value(row, column)
    if value is None:
        return None
    load = _LOADED.get(found.ftype(column))
    return load(value) if load else value.decode()


def _ages(found: PGresult, count: int) -> Iterator[Row]:
    """Rows of which only the time of their last observation differs are as old as the oldest of
    them; apart from those whose time Python cannot hold."""
    seen = {
        (found.get_value(row, _OBSERVED), found.get_value(row, _OTHERS)) for row in range(count)
    }
    least: dict[tuple[bytes | None, bytes | None], bytes | None] = {}
    for observed, others in seen - {(None, None)}:
        if observed and observed[4:5] == b"-" and not observed.endswith(b"BC"):
            # Times of four-digit years are in the order of their spellings.
            least[others, None] = min(least.get((others, None)) or observed, observed)
        else:
            least[others, observed] = observed
    for (others, _), observed in least.items():
        market: Row = {_OBSERVED_AT: observed and rows.spelled(observed)}
        series: Row = {}
        for name, value in (rows.decode(others) if others else {}).items():
            table, _, column = name.rpartition(".")
            (series if table else market)[column] = value
        yield market | ({"series": series} if series else {})
