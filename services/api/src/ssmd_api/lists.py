"""The SQL of lists: filters, order and keyset, put together with psycopg.sql. Runs none of it.

PostgreSQL writes the rows (`ssmd_api.rendering`), those of a page beside what the next cursor and
the age need, whatever fields are asked for (`ssmd_api.pages`).

A page is cut first, in a sub-select over one table, and its rows are joined to their parents
afterwards. Where a row can qualify in several ways (its category is its own or its series', its
sort key is NULL or not), each way is a query of its own that an index answers in the page's order
(migrations/010_list_indexes.sql); of each the first rows are taken, and of these the page. One row
more than the page is fetched, to know whether more follow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from ssmd_api import includes, shapes
from ssmd_api.filters import EventFilter, Filter, MarketFilter, SeriesFilter
from ssmd_api.kinds import COMBINED, KINDS, SINGLE, Multivariate
from ssmd_api.pages import NO_AGE, age_of, of_page
from ssmd_api.paging import Page, sort_keys
from ssmd_api.ranges import Operator
from ssmd_api.rendering import Rendering
from ssmd_api.shapes import Shape
from ssmd_api.where import Way, Where
from ssmd_common import tables
from ssmd_common.columns import Table


@dataclass(frozen=True, slots=True)
class Statement:
    """A query and its parameters."""

    query: sql.SQL | sql.Composed
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing(Statement):
    """The query of a list: of a page as `pages.taken` takes it, of the whole with each row's
    text."""

    rendering: Rendering
    page: Page
    by_key: str | None = None
    """The table, if the list is of its first rows in the order of its key."""
    rows: sql.Composed | None = None
    """The whole list's rows without columns, where they are to be counted."""

    @property
    def bounded(self) -> bool:
        """Whether a page may have fewer rows than it has room for: `ssmd_api.includes`."""
        shape = self.rendering.shape
        return shape.table.name == tables.EVENTS.name and "markets" in shape.members


EVERYTHING: Final = 2**31
"""The limit of a page that has all rows."""

_OF_PARENTS: Final = ("event_ticker", "series_ticker", "latest_expiration_time")
"""What parents, and a market's own values that its table does not have, are found by."""

AGED_MARKET: Final = tables.MARKETS.only(
    "ticker", "event_ticker", "status", "mve_collection_ticker", "observed_at"
)
AGED_SERIES: Final = tables.SERIES.only("category", "is_game", "tags", "volume")
"""What `ssmd_api.freshness` goes by."""


_ITS_EVENT: Final = "JOIN events x ON x.event_ticker = m.event_ticker"
_IN_A_SERIES: Final = "{alias}.series_ticker IN (SELECT y.ticker FROM series y WHERE y.{of})"
_IS_ONE: Final[tuple[LiteralString, ...]] = (
    "category = %(category0)s",
    "category = %(category1)s",
    "category = %(category2)s",
    "category = %(category3)s",
)
_IS_ANY: Final = "category = ANY(%(category)s::text[])"

Ways = Callable[[LiteralString, Sequence[LiteralString], LiteralString], Sequence[Way]]
"""Of the condition that a category is one of those asked for, the same of each by itself, which an
index has in an order, and the kind."""


def _category_of_market(
    of: LiteralString, each: Sequence[LiteralString], kind: LiteralString
) -> Sequence[Way]:
    """Events of multivariate markets have their series' category."""
    if kind == COMBINED:
        return (("", _IN_A_SERIES.replace("{of}", of)),)
    return [("", "{alias}." + one) for one in each]


def _category_of_market_then(
    of: LiteralString, each: Sequence[LiteralString], kind: LiteralString
) -> Sequence[Way]:
    """The same as of a moment: what it follows from is recorded since before it was a column.
    `kind` is the market's, and so its event's: the indexes of categories are by it."""
    if kind == COMBINED:
        return _category_of_market(of, each, kind)
    return (
        (_ITS_EVENT, "x." + kind + " AND x." + of),
        (
            _ITS_EVENT + " JOIN series y ON y.ticker = m.series_ticker",
            "x." + kind + " AND x.category IS NULL AND y." + of,
        ),
    )


def _category_of_event(
    of: LiteralString, each: Sequence[LiteralString], kind: LiteralString
) -> Sequence[Way]:
    if kind == COMBINED:
        return (("", _IN_A_SERIES.replace("{of}", of)),)
    return (
        *[("", "{alias}." + one) for one in each],
        ("JOIN series y ON y.ticker = e.series_ticker", "e.category IS NULL AND y." + of),
    )


_OF_TAGS: Final = (
    "{alias}.series_ticker IN (SELECT y.ticker FROM series y WHERE y.tags && %(tags)s::text[])"
)
_OF_LEG: Final = "{alias}.mve_selected_legs @> %(leg)s"
_OF_GAMES: Final = (
    "{alias}.series_ticker IN (SELECT y.ticker FROM series y WHERE y.is_game = %(is_game)s)"
)


def series(wanted: SeriesFilter, page: Page, shape: Shape = shapes.SERIES) -> Listing:
    where = Where("s")
    where.add_narrow("ticker", "series", wanted.series)
    where.add_any("category", "category", wanted.category)
    where.add("{alias}.tags && %(tags)s::text[]", tags=list(wanted.tags) or None)
    where.add("{alias}.is_game = %(is_game)s", is_game=wanted.is_game)
    where.add("{alias}.active = %(active)s", active=wanted.active)
    where.add_ranges(wanted.ranges)
    where.search("ticker", wanted.words)
    where.begin(tables.SERIES, "ticker", page)
    rendering, joins = _of_series(shape)

    def composed() -> sql.Composed:
        cut, order = where.page(tables.SERIES, "ticker", page)
        return _written(rendering, ("s", "ticker"), cut, joins, order, page)

    text = _once(composed, wanted, page, shape)
    by_key = _by_key(where, tables.SERIES, "ticker", page)
    counted = where.all(tables.SERIES) if page.counted else None
    return Listing(text, where.parameters, rendering, page, by_key, counted)


def events(
    wanted: EventFilter,
    page: Page,
    shape: Shape = shapes.EVENTS,
    aged: Sequence[Table] = (),
    *,
    deleted: bool = False,
) -> Listing:
    """`aged`: as below, of the markets of a page; `deleted`: whether to find those, too."""
    where = Where("e", _of_kind(wanted.multivariate, deleted=deleted))
    where.add_narrow("event_ticker", "event", wanted.event)
    by_ticker = page.sort.removeprefix("-") == "event_ticker"
    _add_series(where, wanted.series, by_ticker=by_ticker)
    where.add_statuses(wanted.statuses)
    _add_kinds(where, _category_of_event, wanted.shown_kinds, wanted.category)
    where.add_any("mve_collection_ticker", "collection", wanted.collection)
    where.add(_OF_TAGS, tags=list(wanted.tags) or None)
    where.add(_OF_GAMES, is_game=wanted.is_game)
    if wanted.closing_before or wanted.closing_after:
        # Its markets are of its kind.
        of_kind = _of_kind(wanted.multivariate)
        closing = Where("m", ["{alias}.event_ticker = e.event_ticker", *of_kind])
        closing.add("{alias}.close_time < %(closing_before)s", closing_before=wanted.closing_before)
        closing.add("{alias}.close_time >= %(closing_after)s", closing_after=wanted.closing_after)
        # Most events close before some time: they are walked, and not joined with all markets.
        most = wanted.closing_before and not wanted.closing_after
        query: LiteralString = (
            "SELECT FROM markets m {} OFFSET 0" if most else "SELECT FROM markets m {}"
        )
        where.exists(sql.SQL(query).format(closing.clause()), closing)
    where.add_ranges(wanted.ranges)
    where.search("event_ticker", wanted.words)
    where.begin(tables.EVENTS, "event_ticker", page)
    bounded = "markets" in shape.members and page.limit != EVERYTHING
    rendering, joins = _of_events(shape, bounded, tuple(aged))

    def composed() -> sql.Composed:
        cut, order = where.page(tables.EVENTS, "event_ticker", page)
        of_series = {"series", "fees"} & shape.members.keys() or AGED_SERIES in aged
        joined: list[sql.Composable] = [_SERIES_OF_EVENT] if of_series else []
        joined.append(joins)
        join = sql.SQL(" ").join(joined)
        if not bounded:
            return _written(rendering, ("e", "event_ticker"), cut, join, order, page)
        cut = includes.within_bounds(cut, order, page.limit)
        return _written(
            rendering, ("e", "event_ticker"), cut, join, order, page, includes.AGES, includes.SHOWN
        )

    text = _once(composed, wanted, page, shape, aged, deleted)
    by_key = _by_key(where, tables.EVENTS, "event_ticker", page)
    counted = where.all(tables.EVENTS) if page.counted else None
    return Listing(text, where.parameters, rendering, page, by_key, counted)


def markets(
    wanted: MarketFilter,
    page: Page,
    shape: Shape = shapes.MARKETS,
    aged: Sequence[Table] = (),
    *,
    deleted: bool = False,
    past: bool = False,
) -> Listing:
    """`aged`: of `AGED_MARKET`, and `AGED_SERIES` where ages depend on the series; `deleted`:
    whether to find those, too; `past`: whether it is asked as of a moment."""
    where = Where("m", _of_kind(wanted.multivariate, deleted=deleted))
    where.add_narrow("ticker", "ticker", wanted.ticker)
    where.add_narrow("event_ticker", "event", wanted.event)
    by_ticker = page.sort.removeprefix("-") == "ticker"
    _add_series(where, wanted.series, by_ticker=by_ticker)
    # Late markets have not settled and early ones have: in the order of closing each status has
    # its own part of the index.
    by_closing = page.sort.removeprefix("-").startswith("close_time")
    where.add_statuses(wanted.words_of_status, each=by_closing)
    where.add("{alias}.close_time < %(closing_before)s", closing_before=wanted.closing_before)
    where.add("{alias}.close_time >= %(closing_after)s", closing_after=wanted.closing_after)
    where.add("{alias}.volume >= %(min_volume)s", min_volume=wanted.min_volume)
    where.add_ranges(wanted.ranges)
    where.add_any("mve_collection_ticker", "collection", wanted.collection)
    where.add(_OF_LEG, leg=wanted.leg and Jsonb([{"market_ticker": wanted.leg}]))
    ways = _category_of_market_then if past else _category_of_market
    _add_kinds(where, ways, wanted.shown_kinds, wanted.category)
    where.add(_OF_TAGS, tags=list(wanted.tags) or None)
    where.add(_OF_GAMES, is_game=wanted.is_game)
    where.search("ticker", wanted.words)
    where.begin(tables.MARKETS, "ticker", page)
    rendering, included = _of_markets(shape)

    def composed() -> sql.Composed:
        read = _read(shape, aged)
        cut, order = where.page(tables.MARKETS, "ticker", page, read)
        # Every market has both; who is not asked for is not read.
        whole = page.limit == EVERYTHING
        joins = []
        of_parents = "category" in shape.table.names or "fees" in shape.members
        if "event" in shape.members or of_parents:
            joins.append(_JOINED_EVENTS if whole else _ITS_EVENTS)
        if "series" in shape.members or of_parents or AGED_SERIES in aged:
            joins.append(_JOINED_SERIES if whole else _ITS_SERIES)
        age = age_of(_aliased(aged))
        joined = sql.SQL(" ").join([*joins, included])
        return _written(rendering, ("m", "ticker"), cut, joined, order, page, age)

    text = _once(composed, wanted, page, shape, aged, deleted, past)
    by_key = _by_key(where, tables.MARKETS, "ticker", page)
    counted = where.all(tables.MARKETS) if page.counted else None
    return Listing(text, where.parameters, rendering, page, by_key, counted)


def _aliased(aged: Sequence[Table]) -> list[tuple[LiteralString, Table]]:
    """Where a market's ages come from."""
    return [("s" if table is AGED_SERIES else "m", table) for table in aged]


def _read(shape: Shape, aged: Sequence[Table]) -> list[str]:
    """What columns of markets a few fields need; nothing where all are needed."""
    if len(shape.table.names) > len(tables.MARKETS.names) / 2:
        return []
    wanted = [*shape.table.names, *_OF_PARENTS, *(aged[0].names if aged else ())]
    return [name for name in wanted if name in tables.MARKETS.names]


def _of_kind(multivariate: Multivariate, *, deleted: bool = False) -> Sequence[LiteralString]:
    """Rows that are there, and those that are not where `deleted`."""
    present: tuple[LiteralString, ...] = () if deleted else (_PRESENT,)
    if multivariate is Multivariate.EXCLUDE:
        return (*present, "{alias}." + SINGLE)
    return present


def _add_series(where: Where, tickers: Sequence[str], *, by_ticker: bool) -> None:
    if by_ticker and len(tickers) > 1:
        where.add_each("series_ticker", "series", tickers)
    else:
        where.add_any("series_ticker", "series", tickers)


def _add_kinds(
    where: Where, ways: Ways, multivariate: Multivariate, categories: Sequence[str]
) -> None:
    """The category, and which kinds; of several kinds, each has its own ways."""
    kinds = KINDS[multivariate]
    if not categories:
        if multivariate is not Multivariate.EXCLUDE:
            where.add_ways([("", "{alias}." + kind) for kind in kinds])
        return
    values = list(dict.fromkeys(categories))
    few = len(values) <= len(_IS_ONE)
    each = _IS_ONE[: len(values)] if few else (_IS_ANY,)
    found = [
        (join, "{alias}." + kind + " AND " + condition)
        for kind in kinds
        for join, condition in ways(each[0] if len(values) == 1 else _IS_ANY, each, kind)
    ]
    where.add_ways(found, category=values)
    where.parameters.update({f"category{n}": value for n, value in enumerate(values) if few})


def _once(
    compose: Callable[[], sql.Composed],
    wanted: Filter,
    page: Page,
    shape: Shape,
    aged: Sequence[Table] = (),
    deleted: bool = False,
    past: bool = False,
) -> sql.SQL:
    """The query's text: made once for all that differ by values only."""
    given = [(name, getattr(wanted, name)) for name in wanted.__slots__]
    key = (
        type(wanted),
        *((name, _part(name, value)) for name, value in given if value not in (None, (), [])),
        page.sort,
        page.limit,
        page.cursor and tuple(key is None for key in page.cursor.keys),
        shape,
        deleted,
        past,
        *(table.names for table in aged),
    )
    text = _texts.get(key)
    if text is None:
        if len(_texts) >= _MOST_TEXTS:
            _texts.clear()
        text = _texts[key] = sql.SQL(compose().as_string())
    return text


def _part(name: str, value: Any) -> Any:
    """What of a filter's value stands in the text: which statuses, how many words or categories,
    whether several values, and which ranges."""
    match name:
        case "statuses":
            return tuple(value)
        case "trading" | "multivariate":
            return value
        case "words":
            return len(value)
        case "category":
            return min(len(set(value)), len(_IS_ONE) + 1)
        case "series" | "event" | "ticker" | "collection":
            return len(value) > 1
        case "ranges":
            return tuple(
                (each.name, each.value if each.operator is Operator.NULL else None)
                for each in value
            )
        case _:
            return None


_MOST_TEXTS: Final = 1000
_texts: dict[Any, sql.SQL] = {}


_Rendered = tuple[Rendering, sql.Composable]
"""What writes a row, and the joins of what is included."""


@lru_cache(maxsize=100)
def _of_series(shape: Shape) -> _Rendered:
    joins, nested = includes.of(shape, of_event=False)
    return Rendering(shape, {"": "s"}, nested), joins


@lru_cache(maxsize=100)
def _of_events(shape: Shape, bounded: bool, aged: tuple[Table, ...]) -> _Rendered:
    of_ages = _aliased(aged)
    joins, nested = includes.of(shape, of_event=True, bounded=bounded, aged=of_ages)
    count: LiteralString = (
        "(SELECT count(*) FROM markets m"
        " WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL)"
    )
    rendering = Rendering(
        shape,
        {"": "e", "series": "s"},
        nested,
        market_count="e.of_event" if bounded else count,
    )
    return rendering, joins


@lru_cache(maxsize=100)
def _of_markets(shape: Shape) -> _Rendered:
    joins, nested = includes.of(shape, of_event=True)
    rendering = Rendering(
        shape,
        {"": "m", "event": "e", "series": "s"},
        nested,
        category="coalesce(e.category, s.category)",
        expiration_time="m.latest_expiration_time",
    )
    return rendering, joins


# A page has few rows, whatever the planner thinks: it is to look up their parents, and not to read
# them all. An export has all.
_ITS_EVENTS: Final = sql.SQL(
    "JOIN LATERAL (SELECT * FROM events e WHERE e.event_ticker = m.event_ticker OFFSET 0) e ON true"
)
_ITS_SERIES: Final = sql.SQL(
    "JOIN LATERAL (SELECT * FROM series s WHERE s.ticker = m.series_ticker OFFSET 0) s ON true"
)
_SERIES_OF_EVENT: Final = sql.SQL(
    "JOIN LATERAL (SELECT * FROM series s WHERE s.ticker = e.series_ticker OFFSET 0) s ON true"
)
_JOINED_EVENTS: Final = sql.SQL("JOIN events e ON e.event_ticker = m.event_ticker")
_JOINED_SERIES: Final = sql.SQL("JOIN series s ON s.ticker = m.series_ticker")


def _by_key(where: Where, table: Table, ticker: str, page: Page) -> str | None:
    is_first = where.takes_all and page.sort == ticker and page.limit != EVERYTHING
    return table.name if is_first else None


def _written(
    rendering: Rendering,
    ticker: tuple[LiteralString, LiteralString],
    cut: sql.Composable,
    joins: sql.Composable,
    order: sql.Composable,
    page: Page,
    age: sql.Composable = NO_AGE,
    shown: sql.Composable | None = None,
) -> sql.Composed:
    """The whole, row by row, or a page in one."""
    if page.limit == EVERYTHING:
        return sql.SQL("SELECT {row} FROM {cut} {joins} {more} ORDER BY {order}").format(
            row=rendering.text, cut=cut, joins=joins, more=rendering.joins, order=order
        )
    keys, _ = sort_keys(page.sort, ticker[1])
    shown_keys = [sql.Identifier(ticker[0], key.name) for key in keys]
    return of_page(rendering, sql.Identifier(*ticker), shown_keys, cut, joins, order, age, shown)


def columns(alias: LiteralString, table: Table) -> sql.Composed:
    """`alias.a, alias.b`, quoted."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in table.names)


_PRESENT: Final = "{alias}.deleted_at IS NULL"
