"""The SQL of lists: filters, order and keyset, put together with psycopg.sql. Runs none of it.

PostgreSQL writes the rows (`ssmd_api.rendering`); behind each stand the values that the next cursor
and the age need, which are read whatever fields are asked for.

A page is cut first, in a sub-select over one table, and its rows are joined to their parents
afterwards; a filter on a parent is a sub-select too, so that each filter has its index
(migrations/002_indexes.sql). One row more than the page is fetched, to know whether more follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString

from psycopg import sql

from ssmd_api import rows, shapes
from ssmd_api.filters import EventFilter, MarketFilter, SeriesFilter
from ssmd_api.paging import Page
from ssmd_api.rendering import Rendering
from ssmd_api.shapes import Shape
from ssmd_common import tables
from ssmd_common.columns import Kind, Table
from ssmd_common.status import NOT_YET_CLOSED, MarketStatus


@dataclass(frozen=True, slots=True)
class Statement:
    """A query and its parameters."""

    query: sql.Composed
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing(Statement):
    """The query of a list: a row has the columns of `rendering`, its sort key and its ticker, then
    those of `beside`."""

    rendering: Rendering
    beside: tuple[Table, ...] = ()


AGED_MARKET: Final = tables.MARKETS.only(
    "ticker", "event_ticker", "status", "mve_collection_ticker", "observed_at"
)
AGED_SERIES: Final = tables.SERIES.only("category", "is_game", "tags", "volume")
"""What `ssmd_api.freshness` goes by."""


_OF_CATEGORY: Final = (
    "{alias}.event_ticker IN ("
    "SELECT x.event_ticker FROM events x WHERE x.category = %(category)s"
    " UNION ALL"
    " SELECT x.event_ticker FROM events x JOIN series y ON y.ticker = x.series_ticker"
    " WHERE x.category IS NULL AND y.category = %(category)s)"
)
_OF_TAGS: Final = (
    "{alias}.series_ticker IN (SELECT y.ticker FROM series y WHERE y.tags && %(tags)s::text[])"
)
_OF_GAMES: Final = (
    "{alias}.series_ticker IN (SELECT y.ticker FROM series y WHERE y.is_game = %(is_game)s)"
)


def series(wanted: SeriesFilter, page: Page, shape: Shape = shapes.SERIES) -> Listing:
    where = _Where("s")
    where.add("{alias}.category = %(category)s", category=wanted.category)
    where.add("{alias}.tags && %(tags)s::text[]", tags=list(wanted.tags) or None)
    where.add("{alias}.is_game = %(is_game)s", is_game=wanted.is_game)
    where.add("{alias}.active = %(active)s", active=wanted.active)
    where.search("ticker", wanted.words)
    order = where.page("ticker", tables.SERIES, page)
    rendering = Rendering(shape, {"": "s"})
    query = sql.SQL("SELECT {row}, {key} FROM series s {where} ORDER BY {order} LIMIT %(fetch)s")
    return Listing(
        query.format(
            row=rendering.columns,
            key=_key("s", "ticker", page),
            where=where.clause(),
            order=order,
        ),
        where.parameters,
        rendering,
    )


def events(wanted: EventFilter, page: Page, shape: Shape = shapes.EVENTS) -> Listing:
    where = _Where("e", ["{alias}.deleted_at IS NULL"])
    where.add("{alias}.series_ticker = %(series)s", series=wanted.series)
    where.add_statuses(wanted.statuses)
    where.add(_OF_CATEGORY, category=wanted.category)
    where.add(_OF_TAGS, tags=list(wanted.tags) or None)
    where.add(_OF_GAMES, is_game=wanted.is_game)
    if wanted.closing_before or wanted.closing_after:
        closing = _Where("m", ["{alias}.event_ticker = e.event_ticker", _PRESENT])
        closing.add("{alias}.close_time < %(closing_before)s", closing_before=wanted.closing_before)
        closing.add("{alias}.close_time >= %(closing_after)s", closing_after=wanted.closing_after)
        where.exists(sql.SQL("SELECT FROM markets m {}").format(closing.clause()), closing)
    where.search("event_ticker", wanted.words)
    order = where.page("event_ticker", tables.EVENTS, page)
    rendering = Rendering(
        shape,
        {"": "e"},
        market_count="(SELECT count(*) FROM markets m"
        " WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL)",
    )
    query = sql.SQL(
        "SELECT {row}, {key}"
        " FROM (SELECT * FROM events e {where} ORDER BY {order} LIMIT %(fetch)s) e ORDER BY {order}"
    )
    return Listing(
        query.format(
            row=rendering.columns,
            key=_key("e", "event_ticker", page),
            where=where.clause(),
            order=order,
        ),
        where.parameters,
        rendering,
    )


def markets(
    wanted: MarketFilter, page: Page, shape: Shape = shapes.MARKETS, aged: Sequence[Table] = ()
) -> Listing:
    """`aged`: `AGED_MARKET`, and `AGED_SERIES` where ages depend on the series, to be beside."""
    where = _Where("m", [_PRESENT])
    where.add("{alias}.event_ticker = %(event)s", event=wanted.event)
    where.add("{alias}.series_ticker = %(series)s", series=wanted.series)
    # Open means not yet closed.
    also = NOT_YET_CLOSED if MarketStatus.OPEN in wanted.statuses else ()
    where.add_statuses(sorted({*wanted.statuses, *map(str, also)}))
    where.add("{alias}.close_time < %(closing_before)s", closing_before=wanted.closing_before)
    where.add("{alias}.close_time >= %(closing_after)s", closing_after=wanted.closing_after)
    where.add("{alias}.volume >= %(min_volume)s", min_volume=wanted.min_volume)
    where.add(_OF_CATEGORY, category=wanted.category)
    where.add(_OF_TAGS, tags=list(wanted.tags) or None)
    where.add(_OF_GAMES, is_game=wanted.is_game)
    where.search("ticker", wanted.words)
    order = where.page("ticker", tables.MARKETS, page)
    rendering = Rendering(shape, {"": "m", "event": "e", "series": "s"})
    beside = [_key("m", "ticker", page)]
    beside += [columns("s" if table is AGED_SERIES else "m", table) for table in aged]
    # Every market has both; who is not asked for is not read.
    joins = []
    if "event" in shape.members:
        joins.append(sql.SQL("JOIN events e ON e.event_ticker = m.event_ticker"))
    if "series" in shape.members or AGED_SERIES in aged:
        joins.append(sql.SQL("JOIN series s ON s.ticker = m.series_ticker"))
    query = sql.SQL(
        "SELECT {row}, {beside}"
        " FROM (SELECT * FROM markets m {where} ORDER BY {order} LIMIT %(fetch)s) m"
        " {joins} ORDER BY {order}"
    )
    return Listing(
        query.format(
            row=rendering.columns,
            beside=sql.SQL(", ").join(beside),
            where=where.clause(),
            joins=sql.SQL(" ").join(joins),
            order=order,
        ),
        where.parameters,
        rendering,
        tuple(aged),
    )


def _key(alias: LiteralString, ticker: LiteralString, page: Page) -> sql.Composed:
    """The sort key and the ticker."""
    return sql.SQL("{}, {}").format(
        sql.Identifier(alias, page.sort.removeprefix("-")), sql.Identifier(alias, ticker)
    )


def columns(alias: LiteralString, table: Table) -> sql.Composed:
    """`alias.a, alias.b`, quoted."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in table.names)


_PRESENT: Final = "{alias}.deleted_at IS NULL"


@dataclass(slots=True)
class _Where:
    """Conditions on one table, and their parameters."""

    alias: LiteralString
    always: Sequence[LiteralString] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    _conditions: list[sql.Composable] = field(default_factory=list)

    def __post_init__(self) -> None:
        for condition in self.always:
            self._put(condition)

    def add(self, condition: LiteralString, **parameter: Any) -> None:
        """Add a condition unless its parameter is None."""
        if None not in parameter.values():
            self._put(condition)
            self.parameters.update(parameter)

    def add_statuses(self, statuses: Sequence[str]) -> None:
        if len(statuses) == 1:
            # Equality, unlike = ANY, lets the index on (status, close_time) give the order too.
            self.add("{alias}.status = %(status)s", status=statuses[0])
        elif statuses:
            self.add("{alias}.status = ANY(%(statuses)s)", statuses=list(statuses))

    def exists(self, query: sql.Composable, inner: "_Where") -> None:
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

    def page(self, ticker: LiteralString, table: Table, page: Page) -> sql.Composed:
        """Add what keeps rows after the cursor; yields the order, NULLs last either way."""
        self.parameters["fetch"] = page.limit + 1
        descending = page.sort.startswith("-")
        name = page.sort.removeprefix("-")
        kind = table.sorts[name]
        parts = {
            "key": sql.Identifier(self.alias, name),
            "ticker": sql.Identifier(self.alias, ticker),
            "after": sql.SQL("<" if descending else ">"),
            "direction": sql.SQL("DESC" if descending else "ASC"),
            "type": sql.Identifier(kind),
        }
        if name == ticker:
            condition, order = "{key} {after} %(after_ticker)s", "{key} {direction}"
        else:
            order = "{key} {direction} NULLS LAST, {ticker}"
            condition = (
                "({key} IS NULL AND {ticker} > %(after_ticker)s)"
                if page.cursor and page.cursor.key is None
                else "({key} {after} %(after_key)s::{type} OR {key} IS NULL"
                " OR ({key} = %(after_key)s::{type} AND {ticker} > %(after_ticker)s))"
            )
        if page.cursor:
            self._conditions.append(sql.SQL(condition).format(**parts))
            self.parameters["after_ticker"] = page.cursor.ticker
            key = page.cursor.key
            is_time = kind is Kind.TIME and isinstance(key, str)
            self.parameters["after_key"] = rows.for_postgresql(str(key)) if is_time else key
        return sql.SQL(order).format(**parts)

    def clause(self) -> sql.Composed:
        if not self._conditions:
            return sql.Composed([])
        return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(self._conditions))

    def _put(self, condition: LiteralString) -> None:
        self._conditions.append(sql.SQL(condition).format(alias=sql.Identifier(self.alias)))


def escape(word: str) -> str:
    """Text as LIKE takes it literally."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
