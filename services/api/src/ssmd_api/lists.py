"""The SQL of lists: filters, order and keyset, put together with psycopg.sql. Runs none of it.

PostgreSQL writes the rows (`ssmd_api.rendering`); behind each stand the values that the next cursor
and the age need, which are read whatever fields are asked for.

A page is cut first, in a sub-select over one table, and its rows are joined to their parents
afterwards. Where a row can qualify in several ways (its category is its own or its series', its
sort key is NULL or not), each way is a query of its own that an index answers in the page's order
(migrations/010_list_indexes.sql); of each the first rows are taken, and of these the page. One row
more than the page is fetched, to know whether more follow.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any, Final, LiteralString

from psycopg import sql

from ssmd_api import rows, shapes
from ssmd_api.filters import EventFilter, Filter, MarketFilter, SeriesFilter
from ssmd_api.paging import Page
from ssmd_api.rendering import Rendering
from ssmd_api.shapes import Shape
from ssmd_common import tables
from ssmd_common.columns import Kind, Table
from ssmd_common.status import NOT_YET_CLOSED, MarketStatus


@dataclass(frozen=True, slots=True)
class Statement:
    """A query and its parameters."""

    query: sql.SQL | sql.Composed
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing(Statement):
    """The query of a list: a row has the columns of `rendering`, its ticker and, where that is
    another, its sort key, then those of `beside`."""

    rendering: Rendering
    keys: int
    """Of which there are one or two."""
    beside: tuple[Table, ...] = ()


EVERYTHING: Final = 2**31
"""The limit of a page that has all rows."""

AGED_MARKET: Final = tables.MARKETS.only(
    "ticker", "event_ticker", "status", "mve_collection_ticker", "observed_at"
)
AGED_SERIES: Final = tables.SERIES.only("category", "is_game", "tags", "volume")
"""What `ssmd_api.freshness` goes by."""


_ITS_EVENT: Final = "JOIN events x ON x.event_ticker = m.event_ticker"
_CATEGORY_OF_MARKET: Final = (
    (_ITS_EVENT, "x.category = %(category)s"),
    (
        _ITS_EVENT + " JOIN series y ON y.ticker = m.series_ticker",
        "x.category IS NULL AND y.category = %(category)s",
    ),
)
_CATEGORY_OF_EVENT: Final = (
    ("", "e.category = %(category)s"),
    (
        "JOIN series y ON y.ticker = e.series_ticker",
        "e.category IS NULL AND y.category = %(category)s",
    ),
)
_OF_TAGS: Final = (
    "{alias}.series_ticker IN (SELECT y.ticker FROM series y WHERE y.tags && %(tags)s::text[])"
)
_OF_GAMES: Final = (
    "{alias}.series_ticker IN (SELECT y.ticker FROM series y WHERE y.is_game = %(is_game)s)"
)


def refused(given: Container[str], sort: str) -> bool:
    """Whether no index serves an order with these filters, by their names: what has been traded
    much stands at the end of orders that begin with what is traded little."""
    return "min_volume" in given and sort in ("volume_24h", "open_interest")


def series(wanted: SeriesFilter, page: Page, shape: Shape = shapes.SERIES) -> Listing:
    where = _Where("s")
    where.add("{alias}.category = %(category)s", category=wanted.category)
    where.add("{alias}.tags && %(tags)s::text[]", tags=list(wanted.tags) or None)
    where.add("{alias}.is_game = %(is_game)s", is_game=wanted.is_game)
    where.add("{alias}.active = %(active)s", active=wanted.active)
    where.search("ticker", wanted.words)
    where.begin(tables.SERIES, page)
    rendering = _of_series(shape)

    def composed() -> sql.Composed:
        cut, order = where.page(tables.SERIES, "ticker", page)
        return sql.SQL("SELECT {row}, {key} FROM {cut} ORDER BY {order}").format(
            row=rendering.columns, key=_key("s", "ticker", page), cut=cut, order=order
        )

    text = _once(composed, wanted, page, shape)
    return Listing(text, where.parameters, rendering, _keys("ticker", page))


def events(wanted: EventFilter, page: Page, shape: Shape = shapes.EVENTS) -> Listing:
    where = _Where("e", ["{alias}.deleted_at IS NULL"])
    where.add("{alias}.series_ticker = %(series)s", series=wanted.series)
    where.add_statuses(wanted.statuses)
    where.add_ways(_CATEGORY_OF_EVENT, category=wanted.category)
    where.add(_OF_TAGS, tags=list(wanted.tags) or None)
    where.add(_OF_GAMES, is_game=wanted.is_game)
    if wanted.closing_before or wanted.closing_after:
        closing = _Where("m", ["{alias}.event_ticker = e.event_ticker", _PRESENT])
        closing.add("{alias}.close_time < %(closing_before)s", closing_before=wanted.closing_before)
        closing.add("{alias}.close_time >= %(closing_after)s", closing_after=wanted.closing_after)
        where.exists(sql.SQL("SELECT FROM markets m {}").format(closing.clause()), closing)
    where.search("event_ticker", wanted.words)
    where.begin(tables.EVENTS, page)
    rendering = _of_events(shape)

    def composed() -> sql.Composed:
        cut, order = where.page(tables.EVENTS, "event_ticker", page)
        return sql.SQL("SELECT {row}, {key} FROM {cut} ORDER BY {order}").format(
            row=rendering.columns, key=_key("e", "event_ticker", page), cut=cut, order=order
        )

    text = _once(composed, wanted, page, shape)
    return Listing(text, where.parameters, rendering, _keys("event_ticker", page))


def markets(
    wanted: MarketFilter, page: Page, shape: Shape = shapes.MARKETS, aged: Sequence[Table] = ()
) -> Listing:
    """`aged`: `AGED_MARKET`, and `AGED_SERIES` where ages depend on the series, to be beside."""
    where = _Where("m", [_PRESENT])
    where.add("{alias}.event_ticker = %(event)s", event=wanted.event)
    where.add("{alias}.series_ticker = %(series)s", series=wanted.series)
    # Open means not yet closed.
    also = NOT_YET_CLOSED if MarketStatus.OPEN in wanted.statuses else ()
    statuses = sorted({*wanted.statuses, *map(str, also)})
    # Late markets have not settled and early ones have: in the order of closing each status has
    # its own part of the index.
    where.add_statuses(statuses, each=page.sort.endswith("close_time"))
    where.add("{alias}.close_time < %(closing_before)s", closing_before=wanted.closing_before)
    where.add("{alias}.close_time >= %(closing_after)s", closing_after=wanted.closing_after)
    where.add("{alias}.volume >= %(min_volume)s", min_volume=wanted.min_volume)
    where.add_ways(_CATEGORY_OF_MARKET, category=wanted.category)
    where.add(_OF_TAGS, tags=list(wanted.tags) or None)
    where.add(_OF_GAMES, is_game=wanted.is_game)
    where.search("ticker", wanted.words)
    where.begin(tables.MARKETS, page)
    rendering = _of_markets(shape)

    def composed() -> sql.Composed:
        cut, order = where.page(tables.MARKETS, "ticker", page)
        beside = [_key("m", "ticker", page)]
        beside += [columns("s" if table is AGED_SERIES else "m", table) for table in aged]
        # Every market has both; who is not asked for is not read.
        whole = page.limit == EVERYTHING
        joins = []
        if "event" in shape.members:
            joins.append(_JOINED_EVENTS if whole else _ITS_EVENTS)
        if "series" in shape.members or AGED_SERIES in aged:
            joins.append(_JOINED_SERIES if whole else _ITS_SERIES)
        return sql.SQL("SELECT {row}, {beside} FROM {cut} {joins} ORDER BY {order}").format(
            row=rendering.columns,
            beside=sql.SQL(", ").join(beside),
            cut=cut,
            joins=sql.SQL(" ").join(joins),
            order=order,
        )

    text = _once(composed, wanted, page, shape, aged)
    return Listing(text, where.parameters, rendering, _keys("ticker", page), tuple(aged))


def _once(
    compose: Callable[[], sql.Composed],
    wanted: Filter,
    page: Page,
    shape: Shape,
    aged: Sequence[Table] = (),
) -> sql.SQL:
    """The query's text: made once for all that differ by values only."""
    given = [(name, getattr(wanted, name)) for name in wanted.__slots__]
    key = (
        type(wanted),
        *((name, _part(name, value)) for name, value in given if value not in (None, (), [])),
        page.sort,
        page.limit,
        page.cursor and (page.cursor.key is None),
        shape,
        *(table.names for table in aged),
    )
    text = _texts.get(key)
    if text is None:
        if len(_texts) >= _MOST_TEXTS:
            _texts.clear()
        text = _texts[key] = sql.SQL(compose().as_string())
    return text


def _part(name: str, value: Any) -> Any:
    """What of a filter's value stands in the text: which statuses, and how many words."""
    if name == "statuses":
        return tuple(value)
    return len(value) if name == "words" else None


_MOST_TEXTS: Final = 1000
_texts: dict[Any, sql.SQL] = {}


@lru_cache(maxsize=100)
def _of_series(shape: Shape) -> Rendering:
    return Rendering(shape, {"": "s"})


@lru_cache(maxsize=100)
def _of_events(shape: Shape) -> Rendering:
    return Rendering(
        shape,
        {"": "e"},
        market_count="(SELECT count(*) FROM markets m"
        " WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL)",
    )


@lru_cache(maxsize=100)
def _of_markets(shape: Shape) -> Rendering:
    return Rendering(shape, {"": "m", "event": "e", "series": "s"})


# A page has few rows, whatever the planner thinks: it is to look up their parents, and not to read
# them all. An export has all.
_ITS_EVENTS: Final = sql.SQL(
    "JOIN LATERAL (SELECT * FROM events e WHERE e.event_ticker = m.event_ticker OFFSET 0) e ON true"
)
_ITS_SERIES: Final = sql.SQL(
    "JOIN LATERAL (SELECT * FROM series s WHERE s.ticker = m.series_ticker OFFSET 0) s ON true"
)
_JOINED_EVENTS: Final = sql.SQL("JOIN events e ON e.event_ticker = m.event_ticker")
_JOINED_SERIES: Final = sql.SQL("JOIN series s ON s.ticker = m.series_ticker")


def _keys(ticker: str, page: Page) -> int:
    return 1 if page.sort.removeprefix("-") == ticker else 2


def _key(alias: LiteralString, ticker: LiteralString, page: Page) -> sql.Composed:
    """The ticker and, where it is another, the sort key."""
    names = dict.fromkeys((ticker, page.sort.removeprefix("-")))
    return sql.SQL(", ").join([sql.Identifier(alias, name) for name in names])


def columns(alias: LiteralString, table: Table) -> sql.Composed:
    """`alias.a, alias.b`, quoted."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in table.names)


_PRESENT: Final = "{alias}.deleted_at IS NULL"


_STATUS_IS: Final[tuple[LiteralString, ...]] = (
    "{alias}.status = %(status0)s",
    "{alias}.status = %(status1)s",
    "{alias}.status = %(status2)s",
    "{alias}.status = %(status3)s",
)
_Way = tuple[LiteralString, LiteralString]
"""One of several ways to qualify, which exclude each other: joins, and a condition."""


@dataclass(slots=True)
class _Where:
    """Conditions on one table, and their parameters."""

    alias: LiteralString
    always: Sequence[LiteralString] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    _conditions: list[LiteralString | sql.Composable] = field(default_factory=list)
    _ways: list[Sequence[_Way]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._conditions += self.always

    def add(self, condition: LiteralString, **parameter: Any) -> None:
        """Add a condition unless its parameter is None."""
        if None not in parameter.values():
            self._conditions.append(condition)
            self.parameters.update(parameter)

    def add_ways(self, ways: Sequence[_Way], **parameter: Any) -> None:
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
        queries = [
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
            for start in starts
        ]
        ordered = sql.SQL(order).format(**parts)
        merged = sql.SQL(" UNION ALL ").join(queries)
        if len(queries) > 1:
            bare = {**parts, "key": sql.Identifier(name), "ticker": sql.Identifier(ticker)}
            merged += sql.SQL(" ORDER BY " + order + " LIMIT {fetch}").format(**bare)
        cut = sql.SQL("({}) {}").format(merged, sql.Identifier(self.alias))
        return cut, ordered

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


def escape(word: str) -> str:
    """Text as LIKE takes it literally."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
