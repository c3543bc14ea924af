"""The SQL around the rows of a page, and what is taken from its result.

Each row comes with its text, which is sent as it is, and with what the next cursor and the age
need: of the first the last row's alone is read, of the second each distinct value once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

NO_AGE: Final = sql.SQL("NULL")
_PAGE: Final = sql.SQL("SELECT {text}, {age}, {ticker}{keys} FROM {cut} {joins} ORDER BY {order}")
_TEXT, _AGE, _TICKER, _KEYS = range(4)
"""Columns."""
_APART: Final = "\x01"
_AGES_APART: Final = "\x02"
_OBSERVED_AT: Final = "observed_at"
_LOADED: Final[Mapping[int, Callable[[bytes], str | int]]] = {
    types["int8"].oid: int,
    types["timestamptz"].oid: rows.spelled,
}
"""Of sort keys; others are texts."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The rows of a page: the JSON of each, whether more follow, and the last one's sort keys and
    ticker; and what ages need, of rows that differ in it."""

    rows: Sequence[bytes]
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
    age: sql.Composable = NO_AGE,
    shown: sql.Composable | None = None,
) -> sql.Composed:
    """The query of a page's rows, and of one more, which only tells that more follow; or of several
    more, with a condition that says which of them the page has: those that it begins with. `age` is
    a row's, or those of several."""
    text: sql.Composable = rendering.text
    if shown is not None:
        text = sql.SQL("CASE WHEN {} THEN {} END").format(shown, text)
    return _PAGE.format(
        text=text,
        age=age,
        ticker=ticker,
        keys=sql.SQL("").join([sql.SQL(", {}").format(key) for key in keys]),
        cut=cut,
        joins=sql.SQL("{} {}").format(joins, rendering.joins),
        order=order,
    )


def age_of(aged: Sequence[tuple[LiteralString, Table]]) -> sql.Composable:
    """When a row was observed, and what else its age needs, as JSON. `aged` are columns of tables
    by alias, of which the first has `observed_at`; the others' names begin with their table's."""
    if not aged:
        return NO_AGE
    (alias, first), *_ = aged
    pairs = [
        sql.SQL("{}, {}").format(sql.Literal(prefix + name), sql.Identifier(of, name))
        for of, table in aged
        for prefix in ["" if table is first else f"{table.name}."]
        for name in table.names
        if name != _OBSERVED_AT
    ]
    observed = sql.Identifier(alias, _OBSERVED_AT)
    if not pairs:
        return observed
    return sql.SQL("coalesce({}::text, '') || {} || json_build_object({})::text").format(
        observed, sql.Literal(_APART), sql.SQL(", ").join(pairs)
    )


def ages_of(aged: Sequence[tuple[LiteralString, Table]]) -> sql.Composable:
    """The same of several rows, aggregated."""
    if not aged:
        return NO_AGE
    return sql.SQL("string_agg({}::text, {})").format(
        sql.SQL("({})").format(age_of(aged)), sql.Literal(_AGES_APART)
    )


def taken(rendering: Rendering, found: PGresult, limit: int) -> Taken:
    """The page of up to `limit` rows."""
    count = min(found.ntuples, limit)
    while count and found.get_value(count - 1, _TEXT) is None:
        count -= 1
    if not count:
        return Taken((), more=False, keys=(), ticker="", ages=())
    rows_of_it = rendering.rows(texts(found, count))
    ticker = _loaded(found, count - 1, _TICKER)
    keys = tuple([_loaded(found, count - 1, number) for number in range(_KEYS, found.nfields)])
    ages = {found.get_value(row, _AGE) or b"" for row in range(count)}
    return Taken(
        rows_of_it, found.ntuples > count, keys or (ticker,), str(ticker), list(_ages(ages))
    )


def texts(found: PGresult, count: int) -> list[bytes]:
    """Of the first rows of a result that begins with the text of each."""
    return [found.get_value(row, _TEXT) or b"" for row in range(count)]


def _loaded(found: PGresult, row: int, column: int) -> Key:
    value = found.get_value(row, column)
    if value is None:
        return None
    load = _LOADED.get(found.ftype(column))
    return load(value) if load else value.decode()


def _ages(found: Iterable[bytes]) -> Iterator[Row]:
    """Rows of which only the time of their last observation differs are as old as the oldest of
    them; apart from those whose time Python cannot hold."""
    least: dict[tuple[bytes, bytes | None], bytes] = {}
    apart = _AGES_APART.encode()
    for age in apart.join(found).split(apart):
        observed, _, others = age.partition(_APART.encode())
        if observed[4:5] == b"-" and not observed.endswith(b"BC"):
            # Times of four-digit years are in the order of their spellings.
            least[others, None] = min(least.get((others, None), observed), observed)
        else:
            least[others, observed] = observed
    for (others, _), observed in least.items():
        market: Row = {_OBSERVED_AT: rows.spelled(observed) if observed else None}
        series: Row = {}
        for name, value in (rows.decode(others) if others else {}).items():
            table, _, column = name.rpartition(".")
            (series if table else market)[column] = value
        yield market | ({"series": series} if series else {})
