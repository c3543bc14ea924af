"""The conditions of a list, and the cut of its page: see `ssmd_api.lists`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, LiteralString

from psycopg import sql

from ssmd_api import rows
from ssmd_api.keyset import After, in_order
from ssmd_api.paging import Page, SortKey, sort_keys
from ssmd_api.ranges import Operator, Range
from ssmd_common.columns import Kind, Table

_STATUS_IS: Final[tuple[LiteralString, ...]] = (
    "{alias}.status = %(status0)s",
    "{alias}.status = %(status1)s",
    "{alias}.status = %(status2)s",
    "{alias}.status = %(status3)s",
)
_COMPARED: Final[dict[Operator, LiteralString]] = {
    Operator.GT: "{column} > {value}",
    Operator.GTE: "{column} >= {value}",
    Operator.LT: "{column} < {value}",
    Operator.LTE: "{column} <= {value}",
}
_CUT: Final[LiteralString] = (
    "(SELECT {columns} FROM {source} WHERE {conditions} AND {start}"
    " ORDER BY {within} LIMIT {fetch})"
)
# Few rows are found first, and then sorted: the planner would rather go through an order.
_CUT_OF_FEW: Final[LiteralString] = (
    "(SELECT {columns} FROM (SELECT {alias}.* FROM {source} WHERE {conditions} OFFSET 0) {alias}"
    " WHERE {start} ORDER BY {within} LIMIT {fetch})"
)
_SEVERAL: Final[LiteralString] = "CROSS JOIN unnest({several}::text[]) of_several(one)"
# Of each value the first rows, by its own part of an index.
_CUT_OF_EACH: Final[LiteralString] = (
    "(SELECT {columns} FROM unnest({several}::text[]) of_several(one) CROSS JOIN LATERAL {cut}"
    " {alias} ORDER BY {within} LIMIT {fetch})"
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
    _several: str = ""
    """The parameter with several values that an index has each in the order of tickers."""
    _is_narrow: bool = False
    _nulls: dict[str, bool] = field(default_factory=dict)
    """Of columns of which only values are asked for, or only the lack of one: whether of that."""

    def __post_init__(self) -> None:
        self._conditions += self.always

    def add(self, condition: LiteralString, **parameter: Any) -> None:
        """Add a condition unless its parameter is None."""
        if None not in parameter.values():
            self._conditions.append(condition)
            self.parameters.update(parameter)

    def add_any(self, column: LiteralString, name: LiteralString, values: Sequence[str]) -> None:
        """The column has one of the values, if there are any."""
        if len(values) == 1:
            # Of one value more is known where a query is planned.
            self.add("{alias}." + column + " = %(" + name + ")s", **{name: values[0]})
        elif values:
            condition: LiteralString = "{alias}." + column + " = ANY(%(" + name + ")s::text[])"
            self.add(condition, **{name: list(values)})

    def add_narrow(self, column: LiteralString, name: LiteralString, values: Sequence[str]) -> None:
        """The same of what leaves few rows."""
        self._is_narrow |= bool(values)
        self.add_any(column, name, values)

    def add_each(self, column: LiteralString, name: LiteralString, values: Sequence[str]) -> None:
        """The column has one of the values, each of which is read by its own part of an index; of
        one column."""
        self._several = name
        self.add("{alias}." + column + " = of_several.one")
        self.parameters[name] = list(dict.fromkeys(values))

    def add_ranges(self, ranges: Sequence[Range]) -> None:
        for each in ranges:
            column = sql.Identifier(self.alias, each.column)
            self._nulls[each.column] = each.operator is Operator.NULL and bool(each.value)
            if each.operator is Operator.NULL:
                text: LiteralString = "{} IS NULL" if each.value else "{} IS NOT NULL"
                self._conditions.append(sql.SQL(text).format(column))
                continue
            self._conditions.append(
                sql.SQL(_COMPARED[each.operator]).format(
                    column=column, value=sql.Placeholder(each.name)
                )
            )
            self.parameters[each.name] = each.value

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

    def begin(self, table: Table, ticker: str, page: Page) -> None:
        """The parameters of a page's cursor."""
        if page.cursor is None:
            return
        self.parameters["after_ticker"] = page.cursor.ticker
        keys, _ = sort_keys(page.sort, ticker)
        for number, (sort, key) in enumerate(zip(keys, page.cursor.keys, strict=False)):
            is_time = table.sorts[sort.name] is Kind.TIME and isinstance(key, str)
            self.parameters[f"after_key{number}"] = (
                rows.for_postgresql(str(key)) if is_time else key
            )

    def page(
        self, table: Table, ticker: LiteralString, page: Page, names: Sequence[str] = ()
    ) -> tuple[sql.Composed, sql.Composed]:
        """The sub-select of the page's rows, and their order, NULLs last either way; `names` are
        columns that others need, if not all (each costs for each row), beside ticker and sort keys.

        Descending, tickers descend too unless the order says otherwise: that is an index read
        backwards. What has a first key and what has none are queries of their own.
        """
        keys, last = sort_keys(page.sort, ticker)
        # As a parameter it would be a reason to plan anew each time.
        fetch = sql.Literal(page.limit + 1)
        order = in_order([*keys, last], last, self.alias)
        # Without NULLS LAST of the first, which is no matter among rows that all have it, or none.
        by = [*(keys or self._lacked(last)), last]
        within = in_order(by, last, self.alias, nulls_of_first=False)
        text = _CUT
        if self._is_narrow and (len(keys) > 1 or (keys and keys[0].descends != last.descends)):
            text = _CUT_OF_FEW
        if self._several:
            text = _CUT_OF_EACH.replace("{cut}", text)
        columns = sql.SQL("{}.*").format(sql.Identifier(self.alias))
        if names:
            needed = dict.fromkeys([*names, ticker, *(key.name for key in keys)])
            columns = sql.SQL(", ").join([sql.Identifier(self.alias, name) for name in needed])
        stretches = [
            [
                sql.SQL(text).format(
                    columns=columns,
                    fetch=fetch,
                    alias=sql.Identifier(self.alias),
                    source=self._source(table, ways),
                    conditions=sql.SQL(" AND ").join([*self._conditions_of(ways), sql.SQL("true")]),
                    start=start,
                    within=within,
                    several=sql.Placeholder(self._several),
                )
                for ways in product(*self._ways)
            ]
            for start in self._starts(table, keys, last, page)
        ]
        merged = _in_turn(stretches, in_order([*keys, last], last), fetch)
        cut = sql.SQL("({}) {}").format(merged, sql.Identifier(self.alias))
        return cut, order

    def _lacked(self, last: SortKey) -> list[SortKey]:
        """A column that all rows lack: its index has them in the order of tickers, but PostgreSQL
        knows that only of an order that begins with the column."""
        return [SortKey(name, last.descends) for name, lacks in self._nulls.items() if lacks][:1]

    def all(self, table: Table) -> sql.Composed:
        """Queries of the rows of the whole list, without columns."""
        return sql.SQL(" UNION ALL ").join(
            [
                sql.SQL("SELECT FROM {source} {several} WHERE {conditions}").format(
                    source=self._source(table, ways),
                    several=sql.SQL(_SEVERAL if self._several else "").format(
                        several=sql.Placeholder(self._several)
                    ),
                    conditions=sql.SQL(" AND ").join([*self._conditions_of(ways), sql.SQL("true")]),
                )
                for ways in product(*self._ways)
            ]
        )

    def _source(self, table: Table, ways: Sequence[Way]) -> sql.Composed:
        return sql.SQL("{table} {alias} {joins}").format(
            table=sql.Identifier(table.name),
            alias=sql.Identifier(self.alias),
            joins=sql.SQL(" ").join([sql.SQL(join) for join, _ in ways]),
        )

    def _conditions_of(self, ways: Sequence[Way]) -> Iterator[sql.Composable]:
        yield from map(self._of, self._conditions)
        for _, condition in ways:
            yield self._of(condition)

    def _starts(
        self, table: Table, keys: Sequence[SortKey], last: SortKey, page: Page
    ) -> list[sql.Composable]:
        """Where the page may go on, as conditions that exclude each other: an index has each."""
        after = After(self.alias, table, keys, last, page)
        if not keys:
            return [after.rest(0) if page.cursor else sql.SQL("true")]
        has, lacks = (
            sql.SQL(text).format(sql.Identifier(self.alias, keys[0].name))
            for text in ("{} IS NOT NULL", "{} IS NULL")
        )
        only_nulls = self._nulls.get(keys[0].name)
        found: list[tuple[bool, sql.Composable]]
        if page.cursor is None:
            found = [(False, has), (True, lacks)]
        elif page.cursor.keys[0] is None:
            found = [(True, sql.SQL("{} AND {}").format(lacks, after.rest(1)))]
        else:
            found = [*((False, each) for each in after.first()), (True, lacks)]
        left: list[sql.Composable] = [
            start for nulls, start in found if only_nulls in (None, nulls)
        ]
        return left or [sql.SQL("false")]

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
