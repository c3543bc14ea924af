"""The SQL around the rows of a page: one row, of which Python takes one text and a few values.

Loaded row by row, a page of 100 cost more in Python than in PostgreSQL.
"""

from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg import sql

from ssmd_api.paging import Page
from ssmd_api.rendering import ROWS_APART, Rendering
from ssmd_common.columns import Table

COLUMNS: Final = ("text", "is far", "more", "keys …", "ticker", "ages")
"""Of the one row: the rows' text as `Rendering.page` takes it and whether it has far times; whether
more rows follow, and the sort keys and ticker of the last; what their age needs, as JSON."""

# Names of its own, since ages have columns of markets.
_PAGE: Final = sql.SQL(
    "WITH found AS MATERIALIZED (SELECT row_number() OVER (ORDER BY {order}) AS row_n,"
    " {text} AS row_text, {far} AS row_far, {keys}, {ticker} AS row_ticker {aged}"
    " FROM {cut} {joins})"
    " SELECT (SELECT string_agg(row_text, {apart} ORDER BY row_n) FROM found WHERE {within}),"
    " (SELECT bool_or(row_far) FROM found WHERE {within}),"
    " EXISTS (SELECT FROM found WHERE NOT {within}), {last_keys}, last.row_ticker, {ages}"
    " FROM (SELECT) one LEFT JOIN found last ON last.row_n = {limit}"
)
# Rows of which only the time of their last observation differs are as old as the oldest of them;
# apart from those without such a time, or with one that Python cannot hold.
_AGES: Final = sql.SQL(
    "(SELECT json_agg(g) FROM (SELECT {columns} min({observed}) AS {observed}"
    " FROM found WHERE {within} GROUP BY {columns}"
    " {observed} >= '0001-01-01' AND {observed} < '10000-01-01') g)"
)
_OBSERVED: Final = "observed_at"


_comma: Final = sql.SQL(", ")


def _named(number: int) -> sql.Identifier:
    """A sort key of a row."""
    return sql.Identifier(f"row_key{number}")


def of_page(
    rendering: Rendering,
    ticker: sql.Identifier,
    keys: Sequence[sql.Identifier],
    cut: sql.Composable,
    joins: sql.Composable,
    order: sql.Composable,
    page: Page,
    aged: Sequence[tuple[LiteralString, Table]] = (),
) -> sql.Composed:
    """The query whose row has `COLUMNS`. `aged` are columns of tables by alias, of which the first
    has `observed_at`; the others' names begin with their table's."""
    columns = [
        (sql.Identifier(alias, column.name), sql.Identifier(prefix + column.name))
        for alias, table in aged
        for prefix in ["" if table is aged[0][1] else f"{table.name}."]
        for column in table.columns
    ]
    names = [name for _, name in columns if name != sql.Identifier(_OBSERVED)]
    within = sql.SQL("row_n <= {}").format(sql.Literal(page.limit))
    ages: sql.Composable = sql.SQL("NULL")
    if columns:
        grouped = sql.SQL("").join([sql.SQL("{}, ").format(name) for name in names])
        observed = sql.Identifier(_OBSERVED)
        ages = _AGES.format(columns=grouped, observed=observed, within=within)
    return _PAGE.format(
        text=rendering.text,
        far=rendering.far,
        order=order,
        keys=_comma.join(
            [sql.SQL("{} AS {}").format(key, _named(n)) for n, key in enumerate(keys)]
        ),
        last_keys=_comma.join([sql.SQL("last.{}").format(_named(n)) for n in range(len(keys))]),
        ticker=ticker,
        aged=sql.SQL("").join([sql.SQL(", {} AS {}").format(*each) for each in columns]),
        cut=cut,
        joins=joins,
        limit=sql.Literal(page.limit),
        within=within,
        apart=sql.Literal(ROWS_APART),
        ages=ages,
    )
