"""The conditions of a list, and the cut of its page: see `ssmd_api.lists`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, LiteralString

from psycopg import sql

from ssmd_api import rows
from ssmd_api.paging import Page
from ssmd_common.columns import Kind, Table

_STATUS_IS: Final[tuple[LiteralString, ...]] = (
    "{alias}.status = %(status0)s",
    "{alias}.status = %(status1)s",
    "{alias}.status = %(status2)s",
    "{alias}.status = %(status3)s",
)
Way = tuple[LiteralString, LiteralString]
"""One of several ways to qualify, which exclude each other: joins, and a condition."""


@dataclass(slots=True)
class Where:
    """Conditions on one table, and their parameters."""

    alias: LiteralString
    always: Sequence[LiteralString] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    _conditions: list[LiteralString | sql.Composable] = field(default_factory=list)
    _ways: list[Sequence[Way]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._conditions += self.always

    def add(self, condition: LiteralString, **parameter: Any) -> None:
        """Add a condition unless its parameter is None."""
        if None not in parameter.values():
            self._conditions.append(condition)
            self.parameters.update(parameter)

    def add_ways(self, ways: Sequence[Way], **parameter: Any) -> None:
        """Add that a row qualifies in one of the ways, unless the parameter is None."""
        if None not in parameter.values():
            self._ways.append(ways)
            self.parameters.update(parameter)

    def add_statuses(self, statuses: Sequence[str], *, each: bool = False) -> None:
        """One of these; with `each`, each is a way."""
        if len(statuses) == 1:
            self.add("{alias}.status = %(status)s", status=statuses[0])
        elif statuses and each:
            self.parameters.update({f"status{n}": value for n, value in enumerate(statuses)})
            self._ways.append([("", condition) for condition in _STATUS_IS[: len(statuses)]])
        elif statuses:
            self.add("{alias}.status = ANY(%(statuses)s)", statuses=list(statuses))

    def exists(self, query: sql.Composable, inner: "Where") -> None:
        self._conditions.append(sql.SQL("EXISTS ({})").format(query))
        self.parameters.update(inner.parameters)

    def search(self, ticker: LiteralString, words: Sequence[str]) -> None:
        """Every word stands in the ticker or the title; the expression is the index's own."""
        for number, word in enumerate(words):
            name = f"word{number}"
            self._conditions.append(
                sql.SQL("({ticker} || ' ' || coalesce({title}, '')) ILIKE {word}").format(
                    ticker=sql.Identifier(self.alias, ticker),
                    title=sql.Identifier(self.alias, "title"),
                    word=sql.Placeholder(name),
                )
            )
            self.parameters[name] = f"%{escape(word)}%"

    def begin(self, table: Table, page: Page) -> None:
        """The parameters of a page's cursor."""
        if cursor := page.cursor:
            self.parameters["after_ticker"] = cursor.ticker
            key = cursor.key
            is_time = table.sorts[page.sort.removeprefix("-")] is Kind.TIME
            is_time = is_time and isinstance(key, str)
            self.parameters["after_key"] = rows.for_postgresql(str(key)) if is_time else key

    def page(
        self, table: Table, ticker: LiteralString, page: Page
    ) -> tuple[sql.Composed, sql.Composed]:
        """The sub-select of the page's rows, and their order, NULLs last either way.

        Descending, tickers descend too: that is an index read backwards.
        """
        descending = page.sort.startswith("-")
        name = page.sort.removeprefix("-")
        cursor = page.cursor
        parts = {
            "key": sql.Identifier(self.alias, name),
            "ticker": sql.Identifier(self.alias, ticker),
            "after": sql.SQL("<" if descending else ">"),
            "direction": sql.SQL("DESC" if descending else "ASC"),
            "type": sql.Identifier(table.sorts[name]),
            # As a parameter it would be a reason to plan anew each time.
            "fetch": sql.Literal(page.limit + 1),
        }
        if name == ticker:
            order: LiteralString = "{key} {direction}"
            starts: list[LiteralString] = ["{key} {after} %(after_ticker)s" if cursor else "true"]
        else:
            order = "{key} {direction} NULLS LAST, {ticker} {direction}"
            null: LiteralString = "{key} IS NULL"
            if cursor is None:
                starts = ["{key} IS NOT NULL", null]
            elif cursor.key is None:
                starts = [null + " AND {ticker} {after} %(after_ticker)s"]
            else:
                after_key: LiteralString = "(%(after_key)s::{type}, %(after_ticker)s)"
                starts = ["({key}, {ticker}) {after} " + after_key, null]
        # Without NULLS LAST, which is no matter among rows that all have a key or all have none.
        within = order.replace(" NULLS LAST", "")
        stretches = [
            [
                sql.SQL(
                    "(SELECT {alias}.* FROM {table} {alias} {joins} WHERE {conditions}"
                    " ORDER BY {within} LIMIT {fetch})"
                ).format(
                    fetch=parts["fetch"],
                    alias=sql.Identifier(self.alias),
                    table=sql.Identifier(table.name),
                    joins=sql.SQL(" ").join([sql.SQL(join) for join, _ in ways]),
                    conditions=sql.SQL(" AND ").join(
                        [
                            *map(self._of, self._conditions),
                            *(self._of(condition) for _, condition in ways),
                            sql.SQL(start).format(**parts),
                        ]
                    ),
                    within=sql.SQL(within).format(**parts),
                )
                for ways in product(*self._ways)
            ]
            for start in starts
        ]
        ordered = sql.SQL(order).format(**parts)
        bare = {**parts, "key": sql.Identifier(name), "ticker": sql.Identifier(ticker)}
        merged = _in_turn(stretches, sql.SQL(order).format(**bare), sql.Literal(page.limit + 1))
        cut = sql.SQL("({}) {}").format(merged, sql.Identifier(self.alias))
        return cut, ordered

    @property
    def takes_all(self) -> bool:
        """Whether there are no conditions but those that there always are."""
        return len(self._conditions) == len(self.always) and not self._ways

    def clause(self) -> sql.Composed:
        if not self._conditions:
            return sql.Composed([])
        return sql.SQL("WHERE {}").format(
            sql.SQL(" AND ").join(list(map(self._of, self._conditions)))
        )

    def _of(self, condition: LiteralString | sql.Composable) -> sql.Composable:
        if isinstance(condition, sql.Composable):
            return condition
        return sql.SQL(condition).format(alias=sql.Identifier(self.alias))


def _in_turn(
    stretches: Sequence[Sequence[sql.Composable]], order: sql.Composable, fetch: sql.Composable
) -> sql.Composed:
    """The first rows of stretches of an order, each of several queries: a later stretch is read
    only where those before it have too few, since PostgreSQL appends one after the other."""
    union, limit = sql.SQL(" UNION ALL "), sql.SQL(" LIMIT {}").format(fetch)
    merged = [
        queries[0]
        if len(queries) == 1
        else sql.SQL("({} ORDER BY {}{})").format(union.join(queries), order, limit)
        for queries in stretches
    ]
    return union.join(merged) + (limit if len(merged) > 1 else sql.SQL(""))


def escape(word: str) -> str:
    """Text as LIKE takes it literally."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
