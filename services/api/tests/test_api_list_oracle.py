"""Every filter, operator and order of lists, against the same rows read naively in Python.

One universe with a seed, whose columns have few values, so that everything has equals and nulls.
"""

import asyncio
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cmp_to_key
from itertools import combinations
from random import Random
from typing import Any

import psycopg
import pytest
from api_testbed import Client, Serve
from api_universe import NOW, insert
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ssmd_api import filters, ranges, store
from ssmd_api.parameters import COUNTED
from ssmd_common import tables
from ssmd_common.columns import Kind, Table
from ssmd_common.status import EventStatus, MarketStatus
from ssmd_stack.database import Database

SEED = 20
Row = Mapping[str, Any]
Fits = Callable[[Row, Any], bool]

TIMES = [None, *(NOW + timedelta(hours=hours) for hours in (-30, -1, 2, 2, 50))]
NUMBERS = [None, 0, 0, 1, 5, 5, 1000]
CATEGORIES = [None, "Crypto", "Climate and Weather", "Sports"]
TAGS = [None, [], ["BTC"], ["BTC", "Hourly"], ["Basketball"]]
WORDS = ["rain", "Rain 100%", "sun_shine", None]


async def fill(connection: psycopg.AsyncConnection[Any]) -> None:
    rng = Random(SEED)
    series = [f"KXS{number}" for number in range(7)]
    for ticker in series:
        await insert(
            connection,
            "series",
            ticker=ticker,
            title=rng.choice(WORDS),
            category=rng.choice(CATEGORIES),
            tags=rng.choice(TAGS),
            is_game=rng.random() < 0.4,
            active=rng.random() < 0.6,
            volume=rng.choice(NUMBERS),
        )
    events = {f"{rng.choice(series)}-E{number:02}": number for number in range(24)}
    for event in events:
        await insert(
            connection,
            "events",
            event_ticker=event,
            series_ticker=event.partition("-")[0],
            title=rng.choice(WORDS),
            category=rng.choice(CATEGORIES),
            status=rng.choice([*map(str, EventStatus)]),
            strike_date=rng.choice(TIMES),
            deleted_at=rng.choice([None, None, None, NOW]),
        )
    for number in range(90):
        event = rng.choice(sorted(events))
        await insert(
            connection,
            "markets",
            ticker=f"{event}-M{number:02}",
            event_ticker=event,
            series_ticker=event.partition("-")[0],
            title=rng.choice(WORDS),
            status=rng.choice([*map(str, MarketStatus), "active"]),
            close_time=rng.choice(TIMES),
            volume=rng.choice(NUMBERS),
            volume_24h=rng.choice(NUMBERS),
            open_interest=rng.choice(NUMBERS),
            deleted_at=rng.choice([None] * 7 + [NOW]),
        )
    await fill_multivariate(connection, series)


async def fill_multivariate(connection: psycopg.AsyncConnection[Any], series: list[str]) -> None:
    """Combinations, of which the lists are to know as little as of others, unless asked."""
    rng = Random(SEED + 1)
    for number in range(24):
        event = f"{rng.choice(series)}-V{number:02}"
        collection = rng.choice(["KXMVE-R", "KXMVE-S"])
        await insert(
            connection,
            "events",
            event_ticker=event,
            series_ticker=event.partition("-")[0],
            title=rng.choice(WORDS),
            status=rng.choice([*map(str, EventStatus)]),
            mve_collection_ticker=collection,
        )
        await insert(
            connection,
            "markets",
            ticker=f"{event}-M",
            event_ticker=event,
            series_ticker=event.partition("-")[0],
            title=rng.choice(WORDS),
            status=rng.choice([*map(str, MarketStatus), "active"]),
            close_time=rng.choice(TIMES),
            # Quotes are not kept of new ones.
            volume=rng.choice([None, None, 5]),
            mve_collection_ticker=collection,
            mve_selected_legs=Jsonb(
                [{"market_ticker": leg} for leg in rng.sample(["KXS1-A", "KXS2-B", "KXS3-C"], 2)]
            ),
        )


COMPARED = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def compared(column: str, how: str) -> Fits:
    def fits(row: Row, asked: Any) -> bool:
        value = row[column]
        if how == "null":
            return (value is None) == asked
        return value is not None and bool(COMPARED[how](value, asked))

    return fits


def one_of(column: str) -> Fits:
    return lambda row, asked: row[column] in asked


def has_words(row: Row, asked: str) -> bool:
    text = f"{row['ticker']} {row['title'] or ''}".lower()
    return all(word in text for word in asked.lower().split())


def has_tag(row: Row, asked: Sequence[str]) -> bool:
    return not set(row["tags"] or ()).isdisjoint(asked)


def is_in_status(row: Row, asked: Sequence[str]) -> bool:
    return row["status"] in ([*asked, "active"] if "open" in asked else asked)


def trades(row: Row, asked: str) -> bool:
    return row["status"] is not None and (row["status"] == "active") == (asked == "yes")


@dataclass(frozen=True)
class Filter:
    """A parameter; those of one group are not asked for together."""

    name: str
    group: str
    values: Sequence[Any]
    fits: Fits


def of_ranges(table: Table) -> Iterator[Filter]:
    for column in ranges.ranged(table):
        values = TIMES[1:4] if column.kind is Kind.TIME else [0, 3, 5, 10**15]
        for how in ranges.Operator:
            asked = [True, False] if how is ranges.Operator.NULL else values
            # Of two sides of a range there are pairs below.
            yield Filter(f"{column.name}.{how}", column.name, asked, compared(column.name, how))


def several(values: Sequence[str]) -> list[list[str]]:
    return [[values[0]], [values[-1]], list(values[:2]), ["none"]]


def of_parents(column: str) -> list[Filter]:
    return [
        Filter("category", "category", several(CATEGORIES[1:]), one_of("category")),
        Filter("tag", "tag", [["BTC"], ["Hourly", "Basketball"], ["none"]], has_tag),
        Filter("games_only", "games", [True], lambda row, _: row["is_game"]),
        Filter("series", "series", several([f"KXS{n}" for n in range(7)]), one_of(column)),
        Filter("q", "q", ["rain", "ain 0%", "n_s", "e1 RAIN", "%%"], has_words),
    ]


def closes(how: str) -> Fits:
    return lambda row, asked: any(compared("close_time", how)(m, asked) for m in row["markets"])


def all_filters(rows: Mapping[str, Sequence[Row]]) -> dict[str, list[Filter]]:
    events = [row["event_ticker"] for row in rows["markets"][::9]]
    markets = [row["ticker"] for row in rows["markets"][::7]]
    closing = [("closing_before", "lt"), ("closing_after", "gte")]
    return {
        "series": [
            *of_parents("ticker"),
            Filter("is_game", "games", [True, False], lambda row, asked: row["is_game"] == asked),
            Filter("active", "active", [True, False], lambda row, asked: row["active"] == asked),
            *of_ranges(tables.SERIES),
        ],
        "events": [
            *of_parents("series_ticker"),
            Filter("event", "event", several(events), one_of("event_ticker")),
            Filter("status", "status", [["open"], ["closed", "settled"]], one_of("status")),
            *(Filter(name, "closing", TIMES[1:4], closes(how)) for name, how in closing),
            *of_ranges(tables.EVENTS),
            *OF_KINDS,
        ],
        "markets": [
            *of_parents("series_ticker"),
            Filter("event", "event", several(events), one_of("event_ticker")),
            Filter("ticker", "ticker", several(markets), one_of("ticker")),
            Filter(
                "status",
                "status",
                [*([str(each)] for each in MarketStatus), ["open", "settled"]],
                is_in_status,
            ),
            Filter("trading", "status", ["yes", "no"], trades),
            Filter("min_volume", "volume", [0, 5], compared("volume", "gte")),
            *(
                Filter(name, "close_time", TIMES[1:4], compared("close_time", how))
                for name, how in closing
            ),
            *of_ranges(tables.MARKETS),
            *OF_KINDS,
        ],
    }


def is_of(row: Row, asked: str) -> bool:
    if asked == "include":
        return True
    return (row["mve_collection_ticker"] is not None) == (asked == "only")


OF_KINDS = [Filter("multivariate", "q", ["exclude", "include", "only"], is_of)]
"""Beside words they are refused."""


Asked = list[tuple[Filter, Any]]


def selections(all_of: Sequence[Filter], rng: Random, count: int) -> Iterator[Asked]:
    """Each value of each filter, both sides of each range, and some that are mixed."""
    for each in all_of:
        for value in each.values:
            yield [(each, value)]
    by_name = {each.name: each for each in all_of}
    for low, high in combinations([each for each in all_of if "." in each.name], 2):
        sides = low.name.partition(".")[2][:2], high.name.partition(".")[2][:2]
        if low.group == high.group and sides == ("gt", "lt"):
            yield [(low, low.values[0]), (high, high.values[1])]
    for name, value in (("volume", 0), ("close_time", TIMES[1])):
        for older in ("min_volume", "closing_after"):
            if older in by_name and by_name[older].group == name:
                yield [(by_name[older], value), (by_name[f"{name}.lt"], by_name[older].values[-1])]
    for _ in range(count):
        picked: dict[str, Filter] = {}
        for each in rng.sample(all_of, rng.randint(2, 4)):
            picked.setdefault(each.group, each)
        yield [(each, rng.choice(each.values)) for each in picked.values()]


def as_query(asked: Asked) -> list[tuple[str, str]]:
    found = []
    for each, value in asked:
        for one in value if isinstance(value, list) else [value]:
            text = one.isoformat() if isinstance(one, datetime) else str(one)
            found.append((each.name, text.lower() if isinstance(one, bool) else text))
    return found


def ordered(rows: Sequence[Row], sort: str, key: str) -> list[str]:
    """Tickers in the order: nulls last either way, equals by ticker in the first's direction."""
    keys = sort.split(",")
    if keys[-1].removeprefix("-") != key:
        keys.append(f"-{key}" if keys[0].startswith("-") else key)

    def compare(one: Row, other: Row) -> int:
        for each in keys:
            name, descends = each.removeprefix("-"), each.startswith("-")
            a, b = one[name], other[name]
            if a == b:
                continue
            if a is None or b is None:
                return 1 if a is None else -1
            return -1 if (a < b) != descends else 1
        return 0

    return [row[key] for row in sorted(rows, key=cmp_to_key(compare))]


def orders(table: Table, key: str, rng: Random) -> str:
    """One to three columns, often with the key as the last."""
    names = [name for name in table.sorts if name != key]
    picked = rng.sample(names, rng.randint(0, min(2, len(names))))
    if not picked or rng.random() < 0.3:
        picked.append(key)
    return ",".join(rng.choice(["", "-"]) + name for name in picked)


ROWS = {
    "series": "SELECT s.* FROM series s",
    "events": """
        SELECT e.*, e.event_ticker AS ticker, coalesce(e.category, s.category) AS category, s.tags,
            s.is_game, array(SELECT json_build_object('close_time', m.close_time) FROM markets m
                WHERE m.event_ticker = e.event_ticker AND m.deleted_at IS NULL) AS markets
        FROM events e JOIN series s ON s.ticker = e.series_ticker WHERE e.deleted_at IS NULL""",
    "markets": """
        SELECT m.*, coalesce(e.category, s.category) AS category, s.tags, s.is_game FROM markets m
        JOIN events e USING (event_ticker) JOIN series s ON s.ticker = m.series_ticker
        WHERE m.deleted_at IS NULL""",
}
TABLES = {"series": tables.SERIES, "events": tables.EVENTS, "markets": tables.MARKETS}


async def read(database: Database) -> dict[str, list[dict[str, Any]]]:
    async with database.connect() as connection:
        await fill(connection)
        cursor = connection.cursor(row_factory=dict_row)
        found = {}
        for name, query in ROWS.items():
            await cursor.execute(query)
            found[name] = await cursor.fetchall()
    for event in found["events"]:
        for market in event["markets"]:
            time = market["close_time"]
            market["close_time"] = time and datetime.fromisoformat(time)
    return found


@dataclass
class Oracle:
    """Asks for a list in pages, and says what should come."""

    api: Client
    rows: Mapping[str, Sequence[Row]]
    few: asyncio.Semaphore

    async def check(self, entity: str, asked: Asked, sort: str, limit: int) -> str | None:
        """What is wrong; None where nothing is."""
        table = TABLES[entity]
        key = table.columns[0].name
        pairs = [*as_query(asked), ("sort", sort), ("limit", str(limit)), ("count", "exact")]
        if entity != "series" and not any(each.name == "multivariate" for each, _ in asked):
            asked = [*asked, (OF_KINDS[0], "exclude")]
            if len(asked) % 2:
                # That is what is left out anyway.
                pairs.append(("multivariate", "exclude"))
        fitting = [
            row for row in self.rows[entity] if all(each.fits(row, value) for each, value in asked)
        ]
        expected = ordered(fitting, sort, key)
        found: list[str] = []
        cursor = ""
        async with self.few:
            while True:
                reply = await self.api.get(f"/v1/{entity}", params=[*pairs, ("cursor", cursor)])
                if reply.status == 400 and _says_they_lack_it(reply.json):
                    # Multivariate ones have no quotes: so they are asked for by their events.
                    return None if any(each is OF_KINDS[0] for each, _ in asked) else f"{pairs}"
                if reply.status == 400 and {"sort"} == _refused(reply.json):
                    # Of some series there are few rows, which are served in every order.
                    pairs += [("series", f"KXS{number}") for number in range(7)]
                    continue
                if reply.status != 200:
                    return f"{entity} {pairs}: {reply.json}"
                found += [row[key] for row in reply.json[entity]]
                if reply.json["count"] != len(expected):
                    return f"{entity} {pairs}: counts {reply.json['count']}, not {len(expected)}"
                cursor = reply.json["cursor"]
                if cursor is None or len(found) > len(expected):
                    break
        return None if found == expected else f"{entity} {pairs}: {found}, not {expected}"


def _says_they_lack_it(problem: Any) -> bool:
    return "which multivariate ones do not have" in problem["detail"]


def _refused(problem: Any) -> set[str]:
    return {fault["parameter"] for fault in problem["errors"]}


async def test_lists_are_what_a_naive_reader_finds(api: Client, database: Database) -> None:
    rows = await read(database)
    every = all_filters(rows)
    oracle = Oracle(api, rows, asyncio.Semaphore(6))
    rng = Random(SEED)
    checks = [
        oracle.check(
            entity, asked, orders(TABLES[entity], TABLES[entity].columns[0].name, rng), limit
        )
        for entity, all_of in every.items()
        for asked in selections(all_of, rng, {"series": 15, "events": 25, "markets": 60}[entity])
        for limit in [rng.choice([7, 25, 1000])]
    ]
    wrong = [each for each in await asyncio.gather(*checks) if each]
    assert not wrong, f"{len(wrong)} of {len(checks)}: " + "\n".join(wrong[:5])


def test_every_parameter_is_asked_for() -> None:
    every = all_filters({"markets": [{"event_ticker": "E", "ticker": "M"}]})
    for entity, kind in filters.FILTERS.items():
        asked = {each.name for each in every[entity]}
        # These stand beside `multivariate`: tested by themselves.
        asked |= {"collection", "leg"} if entity == "markets" else set()
        asked |= {"collection"} if entity == "events" else set()
        assert asked == {parameter.name for parameter in filters.parameters(kind)}, entity


async def test_collections_and_legs_choose_of_multivariate_ones(
    api: Client, database: Database
) -> None:
    rows = await read(database)
    legs = {
        row["ticker"]: {leg["market_ticker"] for leg in row["mve_selected_legs"] or ()}
        for row in rows["markets"]
    }
    for kinds in ("include", "only"):
        for asked, fits in (
            ("collection=KXMVE-R", lambda row: row["mve_collection_ticker"] == "KXMVE-R"),
            (
                "collection=KXMVE-R&collection=KXMVE-S&leg=KXS1-A",
                lambda row: "KXS1-A" in legs[row["ticker"]],
            ),
            (
                "leg=KXS2-B&q=rain",
                lambda row: "KXS2-B" in legs[row["ticker"]] and has_words(row, "rain"),
            ),
        ):
            found = await api.ok(f"/v1/markets?multivariate={kinds}&{asked}&limit=1000")
            wanted = sorted(row["ticker"] for row in rows["markets"] if fits(row))
            assert wanted
            assert [row["ticker"] for row in found["markets"]] == wanted
    found = await api.ok("/v1/events?multivariate=only&collection=KXMVE-S&limit=1000")
    assert {row["mve_collection_ticker"] for row in found["events"]} == {"KXMVE-S"}


@pytest.mark.parametrize(
    ("asked", "parameter", "said"),
    [
        ("markets?multivariate=yes", "multivariate", "must be one of exclude, include, only"),
        ("markets?leg=KXA", "leg", "ask with multivariate=only"),
        ("events?collection=KXA", "collection", "ask with multivariate=only"),
        ("markets?multivariate=include&q=rain", "q", "unless by event, ticker or leg"),
        ("series?multivariate=only", "multivariate", "is unknown here"),
        ("export?multivariate=all", "multivariate", "must be one of"),
        ("snapshot?multivariate=all", "multivariate", "must be one of"),
        ("changes?multivariate=all", "multivariate", "must be one of"),
    ],
)
async def test_what_kinds_are_not_is_refused(
    api: Client, asked: str, parameter: str, said: str
) -> None:
    reply = await api.get(f"/v1/{asked}")
    assert reply.status == 400
    [fault] = [each for each in reply.json["errors"] if each["parameter"] == parameter]
    assert said in fault["detail"]


@pytest.mark.usefixtures("universe")
async def test_an_estimate_is_a_count(api: Client) -> None:
    assert set(COUNTED) == {"exact", "estimated"}
    for path in ("/v1/markets?volume.gte=1", "/v1/events?category=Crypto", "/v1/series"):
        together = "&" if "?" in path else "?"
        for more in ("", "&as_of=-0s" if "volume" not in path else ""):
            document = await api.ok(f"{path}{together}count=estimated&limit=1{more}")
            assert document["count"] >= 0
    assert "count" not in await api.ok("/v1/markets")
    assert (await api.ok("/v1/markets?as_of=-0s&count=exact"))["count"] == 7


@pytest.mark.usefixtures("universe")
async def test_a_count_that_takes_too_long_is_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = sql.SQL("SELECT count(*) FROM (SELECT pg_sleep(60) FROM ({}) of_list) slow OFFSET 0")
    monkeypatch.setattr(store, "EXACT", slow)
    async with serve(api_statement_timeout_seconds=1) as api:
        reply = await api.get("/v1/markets?count=exact")
        assert reply.status == 400
        assert reply.json["errors"][0]["parameter"] == "count"
        assert "ask for estimated" in reply.json["detail"]
        assert (await api.get("/v1/markets?count=estimated")).status == 200
