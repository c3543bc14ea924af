"""The SQL around the rows of a page: one row, of which Python takes one text and a few values.

Loaded row by row, a page of 100 cost more in Python than in PostgreSQL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader

from ssmd_api.paging import Page
from ssmd_api.rendering import ROWS_APART, Rendering
from ssmd_common.columns import Column, Kind, Table

COLUMNS: Final = ("text", "is far", "more", "keys …", "ticker", "ages")
"""Of the one row: the rows' text, with the next row's, and whether it has far times; whether more
rows follow, and the sort keys and ticker of the last; what their age needs, as JSON."""

# Names of its own, since ages have columns of markets. The rows come in their order, and so do the
# aggregates take them: numbering them, or keeping them in a CTE, costs as much as their text. One
# row more than the page is among them, which tells that more follow; Python leaves it out.
_PAGE: Final = sql.SQL(
    "SELECT string_agg(row_text, {apart})::bpchar, bool_or(row_far), count(*) > {limit},"
    " {last_keys}, (array_agg(row_ticker))[{limit}], {ages}::text::bpchar"
    " FROM (SELECT {text} AS row_text, {far} AS row_far, {keys}, {ticker} AS row_ticker"
    " {aged} FROM {cut} {joins} ORDER BY {order}) found"
)
# Of fewer rows than these, where a page is bounded by what comes along with them: which, each says.
_BOUNDED: Final = sql.SQL(
    "SELECT string_agg(row_text, {apart})::bpchar, bool_or(row_far) FILTER (WHERE row_shown),"
    " count(*) > count(*) FILTER (WHERE row_shown), {last_keys},"
    " (array_agg(row_ticker))[count(*) FILTER (WHERE row_shown)],"
    " ('[' || string_agg(row_ages, ',') || ']')::bpchar"
    " FROM (SELECT CASE WHEN {shown} THEN {text} END AS row_text, {far} AS row_far, {keys},"
    " {ticker} AS row_ticker, {shown} AS row_shown, {ages} AS row_ages"
    " FROM {cut} {joins} ORDER BY {order}) found"
)
# Rows of which only the time of their last observation differs are as old as the oldest of them;
# apart from those without such a time, or with one that Python cannot hold.
_AGES: Final = sql.SQL(
    "(SELECT json_agg(g) FROM (SELECT {columns} min({observed}) AS {observed}"
    " FROM unnest({arrays}) AS u({names}) GROUP BY {columns}"
    " {observed} >= '0001-01-01' AND {observed} < '10000-01-01') g)"
)
_OBSERVED: Final = "observed_at"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of rows that bring others along: whether the page has the row, and what ages need of those
    others, as JSON with commas between."""

    shown: sql.Composable
    ages: sql.Composable


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
    bounds: Bounds | None = None,
) -> sql.Composed:
    """The query whose row has `COLUMNS`. `aged` are columns of tables by alias, of which the first
    has `observed_at`; the others' names begin with their table's. With `bounds`, these say which
    rows the page has: those that it begins with."""
    if bounds is not None:
        return _bounded(rendering, ticker, keys, cut, joins, order, bounds)
    columns = [
        (_aged(alias, column), sql.Identifier(prefix + column.name))
        for alias, table in aged
        for prefix in ["" if table is aged[0][1] else f"{table.name}."]
        for column in table.columns
    ]
    limit, comma = sql.Literal(page.limit), sql.SQL(", ")
    observed = sql.Identifier(_OBSERVED)
    ages: sql.Composable = sql.SQL("NULL")
    if columns:
        names = [name for _, name in columns]
        ages = _AGES.format(
            columns=sql.SQL("").join(
                [sql.SQL("{}, ").format(name) for name in names if name != observed]
            ),
            observed=observed,
            arrays=comma.join(
                [sql.SQL("(array_agg({}))[1:{}]").format(name, limit) for name in names]
            ),
            names=comma.join(names),
        )
    return _PAGE.format(
        text=rendering.text,
        far=rendering.far,
        order=order,
        keys=comma.join([sql.SQL("{} AS {}").format(key, _named(n)) for n, key in enumerate(keys)]),
        last_keys=comma.join(
            [sql.SQL("(array_agg({}))[{}]").format(_named(n), limit) for n in range(len(keys))]
        ),
        ticker=ticker,
        aged=sql.SQL("").join([sql.SQL(", {} AS {}").format(*each) for each in columns]),
        cut=cut,
        joins=joins,
        limit=limit,
        apart=sql.Literal(ROWS_APART),
        ages=ages,
    )


def _bounded(
    rendering: Rendering,
    ticker: sql.Identifier,
    keys: Sequence[sql.Identifier],
    cut: sql.Composable,
    joins: sql.Composable,
    order: sql.Composable,
    bounds: Bounds,
) -> sql.Composed:
    comma = sql.SQL(", ")
    last = sql.SQL("(array_agg({}))[count(*) FILTER (WHERE row_shown)]")
    return _BOUNDED.format(
        text=rendering.text,
        far=rendering.far,
        order=order,
        keys=comma.join([sql.SQL("{} AS {}").format(key, _named(n)) for n, key in enumerate(keys)]),
        last_keys=comma.join([last.format(_named(n)) for n in range(len(keys))]),
        ticker=ticker,
        cut=cut,
        joins=joins,
        shown=bounds.shown,
        ages=bounds.ages,
        apart=sql.Literal(ROWS_APART),
    )


def _aged(alias: LiteralString, column: Column) -> sql.Composable:
    """An array of arrays would be one of their elements."""
    value = sql.Identifier(alias, column.name)
    return sql.SQL("to_jsonb({})").format(value) if column.kind is Kind.TEXTS else value


def register(context: AdaptContext) -> None:
    """Have texts of rows and ages, the only values of their type, come as they are sent."""
    context.adapters.register_loader("bpchar", _Bytes)


def shown(text: bytes | None, *, more: bool) -> bytes | None:
    """The text without the next row's."""
    return text[: text.rindex(ROWS_APART.encode())] if text and more else text


class _Bytes(Loader):
    def load(self, data: Buffer) -> bytes:
        return bytes(data)
