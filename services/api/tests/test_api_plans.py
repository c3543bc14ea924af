"""Each filter's plan uses its index once there are rows enough."""

import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import psycopg
import pytest
import pytest_asyncio
import sql_universe as universe

from ssmd_api import includes, lists, refusals, shapes
from ssmd_api.cursors import Cursor
from ssmd_api.database import PLANNING
from ssmd_api.filters import EventFilter, MarketFilter, SeriesFilter
from ssmd_api.kinds import Multivariate
from ssmd_api.lists import AGED_MARKET, Statement
from ssmd_api.paging import Page, sort_keys
from ssmd_api.parameters import orders
from ssmd_api.ranges import Operator, Range, ranged
from ssmd_api.store import queries
from ssmd_common import tables
from ssmd_common.columns import Kind, Table
from ssmd_common.status import EventStatus, MarketStatus
from ssmd_stack.database import Database

NOW = datetime.now(UTC)
BY_TICKER = Page("ticker", 100)

_FILL = """
INSERT INTO series (ticker, title, category, tags, is_game)
    SELECT 'S' || n, 'Title ' || md5(n::text), 'C' || n % 40, ARRAY['T' || n % 1000], n % 3 = 0
    FROM generate_series(1, 12000) n;
INSERT INTO events (event_ticker, series_ticker, category, status, title, strike_date)
    SELECT 'E' || n, 'S' || 1 + n % 2000, CASE WHEN n % 2 = 0 THEN 'K' || n % 400 END,
        CASE WHEN n % 50 = 0 THEN 'open' ELSE 'settled' END, 'Title ' || md5(n::text),
        now() - n * interval '1 hour'
    FROM generate_series(1, 10000) n;
INSERT INTO markets (ticker, event_ticker, series_ticker, status, title, close_time, volume)
    SELECT 'M' || n, 'E' || 1 + n % 10000, 'S' || 1 + (1 + n % 10000) % 2000,
        CASE WHEN n % 100 = 0 THEN 'active' WHEN n % 100 = 1 THEN 'closed' ELSE 'settled' END,
        'Title ' || md5(n::text), now() + (n % 1000 - 900) * interval '1 hour', n
    FROM generate_series(1, 40000) n;
INSERT INTO market_lifecycle_events (market_ticker, event_type, metadata, dedupe_key)
    SELECT 'M' || n % 1000, 'created', '{}', n FROM generate_series(1, 5000) n;
INSERT INTO series_fees (series_ticker, fee_type, fee_multiplier, effective_from)
    SELECT 'S' || n, 'quadratic', 1, now() FROM generate_series(1, 2000) n;
INSERT INTO sync_runs (job, scope) SELECT 'j' || n % 10, '{}' FROM generate_series(1, 5000) n;
INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)
    SELECT 'n', 'p' || n, '', '{}', 1 FROM generate_series(1, 2000) n;
"""


@pytest_asyncio.fixture
async def connection(database: Database) -> Any:
    async with database.connect() as made:
        await made.execute(_FILL)
        await made.execute("VACUUM ANALYZE")
        yield made


async def indexes(
    connection: psycopg.AsyncConnection[Any], query: Any, parameters: dict[str, Any]
) -> tuple[set[str], set[str]]:
    """The indexes that a plan uses, and the tables that it reads from end to end."""
    cursor = psycopg.AsyncClientCursor(connection)
    text = cursor.mogrify(query, parameters)
    await cursor.execute(f"EXPLAIN (FORMAT JSON) {text}")  # type: ignore[arg-type]
    row = await cursor.fetchone()
    assert row
    used, scanned = set(), set()
    pending = [row[0][0]["Plan"]]
    while pending:
        node = pending.pop()
        pending += node.get("Plans", [])
        if name := node.get("Index Name"):
            used.add(name)
        if node["Node Type"] == "Seq Scan":
            scanned.add(node["Relation Name"])
    return used, scanned


BY_EVENT = Page("event_ticker", 1000)
WORD = "c81e728d9d4c2f636f067f89cc14862c"

# What is asked for, the indexes that must be used, the table that must not be read as a whole.
LISTS: dict[str, tuple[Statement, set[str], str]] = {
    "everything": (lists.markets(MarketFilter(), BY_TICKER), {"markets_listed"}, "markets"),
    "a later page": (
        lists.markets(MarketFilter(), Page("ticker", 100, Cursor("ticker", "M5", "M5"))),
        {"markets_listed"},
        "markets",
    ),
    "event": (
        lists.markets(MarketFilter(event=["E7"]), BY_TICKER),
        {"markets_event_closing"},
        "markets",
    ),
    "series": (
        lists.markets(MarketFilter(series=["S7"]), BY_TICKER),
        {"markets_series"},
        "markets",
    ),
    "status": (
        lists.markets(MarketFilter(statuses=["open", "active"]), BY_TICKER),
        {"markets_status_closing"},
        "markets",
    ),
    "status by close": (
        lists.markets(MarketFilter(statuses=["active"]), Page("close_time", 10)),
        {"markets_status_closing"},
        "markets",
    ),
    "closing": (
        lists.markets(
            MarketFilter(
                statuses=["open", "active"],
                closing_after=NOW,
                closing_before=NOW + timedelta(hours=9),
            ),
            BY_TICKER,
        ),
        {"markets_status_closing"},
        "markets",
    ),
    "category": (
        lists.markets(MarketFilter(category=["K4"]), BY_TICKER),
        {"markets_category"},
        "markets",
    ),
    "tag": (
        lists.markets(MarketFilter(tags=["T7"]), BY_TICKER),
        {"series_tags", "markets_series"},
        "markets",
    ),
    "words": (
        lists.markets(MarketFilter(words=[WORD]), BY_TICKER),
        {"markets_search"},
        "markets",
    ),
    "events of a series": (
        lists.events(EventFilter(series=["S7"]), BY_EVENT),
        {"events_series"},
        "events",
    ),
    "events of a category": (
        lists.events(EventFilter(category=["K4"]), BY_EVENT),
        {"series_category"},
        "events",
    ),
    "events by status": (
        lists.events(EventFilter(statuses=["open"]), Page("strike_date", 9)),
        {"events_status"},
        "events",
    ),
    "events by tag": (
        lists.events(EventFilter(tags=["T7"]), BY_EVENT),
        {"series_tags"},
        "series",
    ),
    "events by words": (
        lists.events(EventFilter(words=[WORD]), BY_EVENT),
        {"events_search"},
        "events",
    ),
    "series of a category": (
        lists.series(SeriesFilter(category=["C7"]), BY_TICKER),
        {"series_category"},
        "series",
    ),
    "series by tag": (
        lists.series(SeriesFilter(tags=["T7"]), BY_TICKER),
        {"series_tags"},
        "series",
    ),
    "series by words": (
        lists.series(SeriesFilter(words=[WORD]), BY_TICKER),
        {"series_search"},
        "series",
    ),
}

INCLUDING = {name: shape.including(shape.includes) for name, shape in shapes.LISTS.items()}
ALL_INCLUDED: tuple[Statement, ...] = (
    lists.series(SeriesFilter(), BY_TICKER, INCLUDING["series"]),
    lists.events(EventFilter(), Page("event_ticker", 1000), INCLUDING["events"], [AGED_MARKET]),
    lists.events(EventFilter(statuses=["open"]), Page("-strike_date", 9), INCLUDING["events"]),
    lists.markets(MarketFilter(), Page("ticker", 1000), INCLUDING["markets"]),
    lists.markets(MarketFilter(statuses=["active"]), Page("-volume", 10), INCLUDING["markets"]),
    lists.markets(MarketFilter(ticker=["M1", "M2"]), BY_TICKER, INCLUDING["markets"], deleted=True),
)
MOST_INCLUDED = 15_000
"""Rows that one node of a plan may read for what comes along with a page of 1,000."""


async def check_included(connection: Any) -> None:
    """No table is read from end to end for what is included, nor much more than the page has."""
    for statement in ALL_INCLUDED:
        parameters = {**statement.parameters, includes.FEES_AT: NOW}
        _, scanned = await indexes(connection, statement.query, parameters)
        assert not scanned, statement
        asked = Statement(statement.query, parameters)
        assert not await faults(connection, asked, MOST_SORTED, MOST_INCLUDED), statement


READS: dict[str, tuple[dict[str, Any], str]] = {
    "event_markets": ({"ticker": "E7"}, "markets_event_closing"),
    "series_event_counts": ({"ticker": "S7"}, "events_series"),
    "series_market_counts": ({"ticker": "S7"}, "markets_series"),
    # The primary key would do as well; the planner prefers the exclusion constraint's index.
    "fee_schedule": ({"ticker": "S7"}, "series_fees_no_overlap"),
    "lifecycle": ({"ticker": "M7", "after": 0, "fetch": 101}, "lifecycle_market"),
    "lookup": ({"tickers": ["M7", "M8"]}, "markets_pkey"),
    "stats_recent_runs": ({"limit": 20}, "sync_runs_pkey"),
    "key_by_prefix": ({"prefix": "p7"}, "api_keys_key_prefix_key"),
}


async def test_plans(connection: Any) -> None:
    wrong = {}
    for name, (statement, expected, table) in LISTS.items():
        used, scanned = await indexes(connection, statement.query, statement.parameters)
        if not expected <= used or table in scanned:
            wrong[name] = (used, scanned)
    for name, (parameters, index) in READS.items():
        text = re.sub(r"\{\w+\}", "*", getattr(queries, name))
        used, scanned = await indexes(connection, text, parameters)
        if index not in used or scanned:
            wrong[name] = (used, scanned)
    assert not wrong, "\n".join(f"{name}: {plan}" for name, plan in wrong.items())
    await check_included(connection)


def of_ranges(table: Table) -> list[list[Range]]:
    """Ranges of each column, wide and narrow, from either side and from both; and nulls."""
    found: list[list[Range]] = []
    for column in ranged(table):
        is_time = column.kind is Kind.TIME
        rare: Any = NOW + timedelta(days=90) if is_time else 900_000
        common: Any = NOW if is_time else 0
        for operator, value in ((Operator.GT, common), (Operator.GT, rare), (Operator.LTE, common)):
            found.append([Range(column.name, operator, value)])
        low, high = (NOW, NOW + timedelta(hours=9)) if is_time else (1, 20)
        found.append([Range(column.name, Operator.GTE, low), Range(column.name, Operator.LT, high)])
        found += [[Range(column.name, Operator.NULL, value)] for value in (True, False)]
    return found


async def test_what_has_no_sort_key_is_read_only_where_the_rest_is_too_little(
    connection: Any,
) -> None:
    wanted = MarketFilter(category=["C8"])
    for sort, length, runs in (("-volume", 10, False), ("-volume", 1000, True)):
        statement = lists.markets(wanted, Page(sort, length))
        cursor = psycopg.AsyncClientCursor(connection)
        text = cursor.mogrify(statement.query, statement.parameters)
        await cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}")
        pending = [(await cursor.fetchone())[0][0]["Plan"]]
        loops = []
        while pending:
            node = pending.pop()
            pending += node.get("Plans", [])
            if "volume IS NULL" in f"{node.get('Index Cond')} {node.get('Filter')}":
                loops.append(node["Actual Loops"])
        assert loops
        assert any(loops) is runs, sort


_, INCLUDE, ONLY = Multivariate


# Every filter, with what is common, what is rare, and what nothing has.
MARKETS: list[dict[str, Any]] = [
    {},
    *({"category": [name]} for name in ("Sports", "World", "NONE")),
    *({"statuses": [status]} for status in MarketStatus),
    {"statuses": ["settled", "active"]},
    *({"series": [f"KXSERIES{number}"]} for number in (0, 2, 5000)),
    {"series": [f"KXSERIES{number}" for number in (0, 2, 5000)]},
    {"category": ["World", "Crypto"]},
    {"event": ["KXSERIES0-26FEB0"]},
    {"event": [f"KXSERIES0-26FEB{number}" for number in range(9)]},
    {"ticker": ["KXSERIES0-26FEB0-T0.99", "NONE"]},
    *({"trading": trades} for trades in (True, False)),
    *({"tags": [tag]} for tag in ("Tag 7", "Kind 1")),
    {"is_game": True},
    {"closing_before": NOW + timedelta(hours=9)},
    {"closing_after": NOW},
    {"closing_after": NOW, "closing_before": NOW + timedelta(hours=9)},
    {"statuses": ["active"], "closing_before": NOW + timedelta(days=9)},
    *({"min_volume": volume} for volume in (10, 900_000, 10**9)),
    *({"words": [word]} for word in ("price", "zzzqqq")),
    {"category": ["World"], "statuses": ["open", "active"]},
    *({"ranges": asked} for asked in of_ranges(tables.MARKETS)),
    {"ranges": [Range("volume", Operator.GTE, 10)], "statuses": ["active"]},
    {"ranges": [Range("close_time", Operator.GTE, NOW)], "category": ["World"]},
    *({"multivariate": kinds} for kinds in (INCLUDE, ONLY)),
    *(
        {"multivariate": kinds, **given}
        for kinds in (INCLUDE, ONLY)
        for given in (
            {"category": ["Sports"]},
            {"statuses": ["active"]},
            {"closing_after": NOW},
            {"collection": ["KXMVE0-R"]},
            {"leg": "KXSERIES0-26FEB0-T0.99"},
        )
    ),
    {"series": ["KXMVE0"], "multivariate": ONLY},
]
EVENTS: list[dict[str, Any]] = [
    {},
    *({"category": [name]} for name in ("Sports", "World", "NONE")),
    *({"statuses": [status]} for status in EventStatus),
    {"statuses": ["open", "closed"]},
    *({"series": [f"KXSERIES{number}"]} for number in (0, 5000)),
    {"series": ["KXSERIES0", "KXSERIES5000"]},
    {"category": ["World", "Crypto"]},
    {"event": ["KXSERIES0-26FEB0", "NONE"]},
    *({"ranges": asked} for asked in of_ranges(tables.EVENTS)),
    *({"tags": [tag]} for tag in ("Tag 7", "Kind 1")),
    {"is_game": True},
    {"closing_before": NOW + timedelta(hours=9)},
    {"closing_after": NOW},
    {"closing_after": NOW, "closing_before": NOW + timedelta(hours=1)},
    *({"words": [word]} for word in ("event", "zzzqqq")),
    *(
        {"multivariate": kinds, **given}
        for kinds in (INCLUDE, ONLY)
        for given in (
            {},
            {"category": ["Sports"]},
            {"statuses": ["open"]},
            {"collection": ["KXMVE0-R"]},
        )
    ),
]
SERIES: list[dict[str, Any]] = [
    {},
    *({"category": [name]} for name in ("Sports", "World", "NONE")),
    *({"tags": [tag]} for tag in ("Tag 7", "Kind 1")),
    *({name: value} for name in ("is_game", "active") for value in (True, False)),
    {"series": ["KXSERIES0", "NONE"]},
    *({"ranges": asked} for asked in of_ranges(tables.SERIES)),
    *({"words": [word]} for word in ("number", "zzzqqq")),
]
LISTED: list[tuple[Any, Any, Table, list[dict[str, Any]]]] = [
    (lists.markets, MarketFilter, tables.MARKETS, MARKETS),
    (lists.events, EventFilter, tables.EVENTS, EVENTS),
    (lists.series, SeriesFilter, tables.SERIES, SERIES),
]
SEVERAL = {
    "markets": (
        "-volume,close_time",
        "volume,-close_time",
        "close_time,-volume",
        "-close_time,volume_24h,-open_interest",
        "-open_interest,ticker",
    ),
    "events": ("strike_date,-event_ticker",),
    "series": ("-volume,ticker",),
}
MOST_ROWS = 6_000
"""Of 90,000 that one node of a plan may read."""
MOST_OF_TAGS = 15_000
"""Rows of some tags stand at the end of some orders."""
MOST_UNCATEGORISED = 25_000
"""A third of the events here have no category of their own (of the exchange's hardly one), and
PostgreSQL, which estimates over multivariate ones as well, may read all others."""
MOST_OF_CLOSING = 25_000
"""Each event that an order passes is asked when its markets close."""
NO_MATTER = ("series", "series_fees", "market_lifecycle_events")
"""Read from end to end: the first has few rows, the others have none here."""
MOST_SORTED = 4_500


def most_rows(kind: type, given: dict[str, Any]) -> int:
    if "tags" in given:
        return MOST_OF_TAGS
    if kind is EventFilter and {"closing_after", "closing_before"} & given.keys():
        return MOST_OF_CLOSING
    if kind is EventFilter and "category" in given:
        return MOST_UNCATEGORISED
    return MOST_ROWS


def test_every_filter_is_among_them() -> None:
    for _, kind, table, filters in LISTED:
        tried = {name for given in filters for name in given}
        assert tried == {field.name for field in fields(kind)}, table.name


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_every_filter_in_every_order_reads_few_rows(database: Database) -> None:
    """At a full universe no list reads a table from end to end, nor sorts more than a few thousand
    rows; also of a page from within."""
    wrong: list[Any] = []
    async with database.connect() as connection:
        await universe.fill(connection, universe.FULL)
        # As many again: a list that reads them is found out, as at ten times the others.
        await universe.fill_multivariate(connection, universe.FULL.markets)
        for name, value in PLANNING.items():
            await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        for listed, kind, table, filters in LISTED:
            for given, sort in product(filters, [*orders(table), *SEVERAL[table.name]]):
                if kind is not SeriesFilter and refusals.refusal(
                    kind(**given), sort, table.columns[0].name
                ):
                    continue
                for cursor in (None, within(table, sort)):
                    page = Page(sort, 100, cursor)
                    statement = listed(kind(**given), page)
                    most = most_rows(kind, given)
                    if found := await faults(connection, statement, MOST_SORTED, most):
                        wrong.append((table.name, given, sort, cursor is None, found))
            wrong += await included_faults(connection, listed, kind, table)
        wrong += await faults_of_one_plan(connection)
    assert not wrong, "\n".join(map(str, wrong))


async def included_faults(connection: Any, listed: Any, kind: Any, table: Table) -> list[Any]:
    """What is included is looked up in every order, of the longest page."""
    wrong: list[Any] = []
    for sort in orders(table):
        for cursor in (None, within(table, sort)):
            found = listed(kind(), Page(sort, 1000, cursor), INCLUDING[table.name])
            statement = Statement(found.query, {**found.parameters, includes.FEES_AT: NOW})
            if faulty := await faults(connection, statement, MOST_SORTED, MOST_INCLUDED):
                wrong.append((table.name, "including", sort, cursor is None, faulty))
    return wrong


async def test_a_list_reads_no_more_where_there_are_ten_multivariate_rows_for_each(
    database: Database,
) -> None:
    """By the plan's own counts: with and without them, by default, the same pages read the same."""
    size = universe.Size(series=100, events=400, markets=2_000)
    asked = [
        *(lists.markets(MarketFilter(**given), Page(sort, 100)) for given, sort in OF_MARKETS),
        *(lists.events(EventFilter(**given), Page(sort, 100)) for given, sort in OF_EVENTS),
    ]
    async with database.connect() as connection:
        await universe.fill(connection, size)
        for name, value in PLANNING.items():
            await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        before = [await rows_read(connection, each) for each in asked]
        await universe.fill_multivariate(connection, 10 * size.markets)
        after = [await rows_read(connection, each) for each in asked]
        only = lists.markets(MarketFilter(multivariate=ONLY), Page("close_time", 100))
        assert await rows_read(connection, only) < 1_000
    wrong = [
        (given, was, reads)
        for given, was, reads in zip([*OF_MARKETS, *OF_EVENTS], before, after, strict=True)
        # Of a category PostgreSQL expects fewer than there are, and may read the others whole.
        if reads > (1.5 * size.markets if "category" in given[0] else 1.5 * was + 100)
    ]
    assert not wrong, "\n".join(map(str, wrong))


OF_MARKETS: list[tuple[dict[str, Any], str]] = [
    ({}, "ticker"),
    ({}, "-ticker"),
    ({}, "close_time"),
    ({}, "-volume"),
    ({}, "open_interest"),
    ({"category": ["Sports"]}, "ticker"),
    ({"category": ["Sports"]}, "close_time"),
    ({"statuses": ["active"]}, "close_time"),
    ({"statuses": ["active"]}, "ticker"),
    ({"series": ["KXMVE0"]}, "ticker"),
    ({"words": ["price"]}, "ticker"),
]
OF_EVENTS: list[tuple[dict[str, Any], str]] = [
    ({}, "event_ticker"),
    ({}, "strike_date"),
    ({"statuses": ["open"]}, "event_ticker"),
    ({"category": ["Sports"]}, "event_ticker"),
    ({"series": ["KXMVE0"]}, "event_ticker"),
]


async def rows_read(connection: Any, statement: Statement) -> float:
    """All that a statement's scans look at."""
    cursor = psycopg.AsyncClientCursor(connection)
    text = cursor.mogrify(statement.query, statement.parameters)
    await cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {text}")  # type: ignore[arg-type]
    row = await cursor.fetchone()
    assert row
    total, pending = 0.0, [row[0][0]["Plan"]]
    while pending:
        node = pending.pop()
        pending += node.get("Plans", [])
        if "Scan" in node["Node Type"]:
            looked_at = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            total += looked_at * node["Actual Loops"]
    return total


def within(table: Table, sort: str) -> Cursor:
    value = {"text": "KXSERIES2", "int8": 100, "timestamptz": NOW.isoformat()}
    keys, last = sort_keys(sort, table.columns[0].name)
    found = tuple(value[table.sorts[key.name]] for key in keys or [last])
    return Cursor(sort, found if len(found) > 1 else found[0], "KXSERIES2")


async def faults_of_one_plan(connection: Any) -> list[Any]:
    """Of pages of everything, which are planned once for all places (`Store.listed`)."""
    planned: list[tuple[Any, Any, Table]] = [
        (lists.markets, MarketFilter(), tables.MARKETS),
        (lists.events, EventFilter(), tables.EVENTS),
        (lists.series, SeriesFilter(), tables.SERIES),
    ]
    places = (None, "", "KXSERIES2", "~")
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    wrong = []
    for listed, wanted, table in planned:
        key, plain = table.columns[0].name, shapes.LISTS[table.name]
        for shape, place in product((plain, INCLUDING[table.name]), places):
            cursor = None if place is None else Cursor(key, place, place)
            statement = listed(wanted, Page(key, 100, cursor), shape)
            assert statement.by_key == table.name
            text = statement.query.as_string().replace("%(after_ticker)s", "$1")
            text = text.replace(f"%({includes.FEES_AT})s", "$2")
            await connection.execute(f"PREPARE page (varchar, timestamptz) AS {text}")
            run = f"EXECUTE page ('{place or ''}', now())"
            bounds = (101, MOST_ROWS) if shape is plain else (MOST_SORTED, MOST_INCLUDED)
            if found := await faults_of(connection, run, *bounds):
                wrong.append((table.name, shape is plain, place, found))
            await connection.execute("DEALLOCATE page")
    return wrong


async def faults(
    connection: Any, statement: Statement, most_sorted: int, most_rows: int = MOST_ROWS
) -> list[str]:
    cursor = psycopg.AsyncClientCursor(connection)
    text = cursor.mogrify(statement.query, statement.parameters)
    return await faults_of(connection, text, most_sorted, most_rows)


async def faults_of(
    connection: Any, text: str, most_sorted: int, most_rows: int = MOST_ROWS
) -> list[str]:
    cursor = psycopg.AsyncClientCursor(connection)
    await cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {text}")  # type: ignore[arg-type]
    row = await cursor.fetchone()
    assert row
    found, pending = [], [row[0][0]["Plan"]]
    while pending:
        node = pending.pop()
        inner = node.get("Plans", [])
        pending += inner
        what = f"{node['Node Type']} {node.get('Index Name') or node.get('Relation Name') or ''}"
        read = sum(
            node.get(name, 0)
            for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        )
        if read * node["Actual Loops"] > most_rows:
            found.append(f"{what} reads {read * node['Actual Loops']:.0f}")
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] not in NO_MATTER:
            found.append(what)
        if node["Node Type"] == "Sort" and inner[0]["Actual Rows"] > most_sorted:
            found.append(f"{what} of {inner[0]['Actual Rows']:.0f}")
    return found
