"""Every `include`, with fields and in every format, against the same rows put together naively in
Python: each table read by itself, and what belongs together found by comparing tickers.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations, cycle, islice
from random import Random
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from api_testbed import Client
from api_universe import NOW, insert
from psycopg.rows import dict_row
from test_api_list_oracle import SEED, fill

from ssmd_api import feeschedule, includes, rows, shapes
from ssmd_api.feeschedule import Terms, complete
from ssmd_api.shapes import Shape
from ssmd_common import tables
from ssmd_common.columns import Table
from ssmd_stack.database import Database

Row = dict[str, Any]
TYPES = ["quadratic", "quadratic_with_maker_fees", "flat"]
FAR = ["0044-03-15 BC", "15000-12-31", "infinity"]


async def fill_more(connection: psycopg.AsyncConnection[Any]) -> None:
    """Schedules, overrides, lifecycle events, jsonb and far times for the rows of the list
    oracle."""
    rng = Random(SEED)
    for number in range(7):
        series = f"KXS{number}"
        await connection.execute(
            "UPDATE series SET fee_type = %s, fee_multiplier = %s, extra = %s WHERE ticker = %s",
            (rng.choice([None, *TYPES]), rng.choice([None, "0.50"]), '{"a": [1.10]}', series),
        )
        start = -50
        for _ in range(number % 4):
            end = start + rng.choice([1, 30, 60])
            await insert(
                connection,
                "series_fees",
                series_ticker=series,
                fee_type=rng.choice(TYPES),
                fee_multiplier=rng.choice(["1", "0.2500"]),
                effective_from=NOW + timedelta(hours=start),
                effective_to=NOW + timedelta(hours=end),
            )
            start = end + rng.choice([0, 5])
    cursor = await connection.execute("SELECT event_ticker FROM events ORDER BY 1")
    for (event,) in await cursor.fetchall():
        await connection.execute(
            "UPDATE events SET fee_type_override = %s, fee_multiplier_override = %s,"
            " extra = %s, created_at = coalesce(%s::timestamptz, created_at)"
            " WHERE event_ticker = %s",
            (
                rng.choice([None, None, "flat"]),
                rng.choice([None, None, "2"]),
                '{"deep": {"b": "x\\"y", "n": 12345678901234567890.10}}',
                rng.choice([None] * 5 + FAR),
                event,
            ),
        )
    cursor = await connection.execute("SELECT ticker FROM markets ORDER BY 1")
    for number, (market,) in enumerate(await cursor.fetchall()):
        await connection.execute(
            "UPDATE markets SET custom_strike = %s, yes_bid_dollars = '0.4500', rules_primary = %s,"
            " settled_time = %s::timestamptz, latest_expiration_time = %s::timestamptz"
            " WHERE ticker = %s",
            (
                rng.choice([None, '{"a": [1.10, null, "x,\\"y"]}']),
                rng.choice([None, "", 'quotes " and \\ and\r\nnewlines, ünïcode', "=1+1", "-5"]),
                rng.choice([None] * 9 + FAR),
                rng.choice([None, NOW]),
                market,
            ),
        )
        for step in range({0: 0, 1: 1, 2: 3}.get(number % 9, 2) if number else 25):
            await insert(
                connection,
                "market_lifecycle_events",
                market_ticker=market,
                event_type=rng.choice(["created", "activated"]),
                metadata={"n": step, "text": "a\u0007b"},
                dedupe_key=f"{market}-{step}",
                sent_at=NOW + timedelta(seconds=step),
            )


@dataclass
class Naive:
    """All rows by table, with values as the API sends them."""

    tables: Mapping[str, list[Row]]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _wholes: dict[str, list[Row]] = field(default_factory=dict)

    def of(self, table: str, column: str, value: Any) -> list[Row]:
        return [row for row in self.tables[table] if row[column] == value]

    def fees(self, series: Row, event: Row | None) -> Row | None:
        steps = self.of("series_fees", "series_ticker", series["ticker"])
        schedule = complete(sorted(steps, key=lambda step: step["effective_from"]), series)
        event = event or {}
        terms = Terms(
            schedule, event.get("fee_type_override"), event.get("fee_multiplier_override")
        )
        found = terms.in_force(self.at)
        step = feeschedule.in_force(schedule, self.at) or {}
        times = {name: step.get(name) for name in ("effective_from", "effective_to")}
        return None if found is None else {**found, **times}

    def whole(self, entity: str, row: Row) -> Row:
        """A row with everything that could be beside it."""
        match entity:
            case "series":
                return {**row, "fees": self.fees(row, None)}
            case "events":
                [series] = self.of("series", "ticker", row["series_ticker"])
                markets = self.of("markets", "event_ticker", row["event_ticker"])
                present = [each for each in markets if each["deleted_at"] is None]
                return {
                    **row,
                    "market_count": len(present),
                    "series": series,
                    "markets": sorted(present, key=lambda each: str(each["ticker"])),
                    "fees": self.fees(series, row),
                }
        [series] = self.of("series", "ticker", row["series_ticker"])
        [event] = self.of("events", "event_ticker", row["event_ticker"])
        steps = self.of("market_lifecycle_events", "market_ticker", row["ticker"])
        both = {**row, "event": event, "series": series}
        return {
            **rows.completed(both),
            "lifecycle": sorted(steps, key=lambda step: int(step["id"]))[-includes.LAST_STEPS :],
            "fees": self.fees(series, event),
        }

    def page(self, entity: str, shape: Shape) -> list[Row]:
        """All rows of a list in the order of their tickers, as the shape shows them."""
        if entity not in self._wholes:
            key = shapes.LISTS[entity].table.columns[0].name
            present = [row for row in self.tables[entity] if row.get("deleted_at") is None]
            present.sort(key=lambda row: str(row[key]))
            self._wholes[entity] = [self.whole(entity, row) for row in present]
        return [shape.pick(row) for row in self._wholes[entity]]


NAMED: Mapping[str, Table] = {
    each.name: each
    for each in (
        tables.SERIES,
        tables.EVENTS,
        tables.MARKETS,
        tables.SERIES_FEES,
        tables.LIFECYCLE,
    )
}


async def naive(database: Database) -> Naive:
    async with database.connect() as connection:
        await fill(connection)
        await fill_more(connection)
        await connection.execute("SET timezone = 'UTC'")
        rows.register(connection)
        cursor = connection.cursor(row_factory=dict_row)
        found = {}
        for name, table in NAMED.items():
            await cursor.execute(f"SELECT {', '.join(table.names)} FROM {name}")  # type: ignore[arg-type]
            found[name] = await cursor.fetchall()
    return Naive(found)


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for size in range(len(names) + 1):
        yield from combinations(names, size)


def selections(whole: Shape, included: Sequence[str], rng: Random) -> Iterator[Row]:
    """Fields of every kind: all, none but what is included, some, and all but some."""
    yield {}
    yield {"fields": [whole.table.names[0], *included]}
    if included:
        of_each = [f"{name}.{rng.choice(whole.including([name]).members[name].names)}"  # type: ignore[union-attr]
                   for name in included]  # fmt: skip
        yield {"fields": [rng.choice(whole.table.names), *of_each]}
        yield {"exclude": [*of_each, rng.choice(whole.table.names)]}


@pytest_asyncio.fixture
async def found(database: Database) -> Naive:
    return await naive(database)


def records(text: str) -> list[list[str | None]]:
    """CSV as RFC 4180 describes it, letter by letter; of what is not quoted, nothing is null."""
    found: list[list[str | None]] = []
    rest, record = text, list[str | None]()
    while rest:
        if rest[0] == '"':
            value, rest = "", rest[1:]
            while True:
                part, _, rest = rest.partition('"')
                value += part
                if rest[0] != '"':
                    break
                value, rest = value + '"', rest[1:]
            record.append(value)
        else:
            end = min(at for at in (rest.find(","), rest.find("\r\n")) if at >= 0)
            value, rest = rest[:end], rest[end:]
            assert not {'"', "\r", "\n"} & set(value)
            record.append(value or None)
        if rest[0] == ",":
            rest = rest[1:]
        else:
            assert rest[:2] == "\r\n"
            found.append(record)
            rest, record = rest[2:], []
    assert not record
    return found


def cells(shape: Shape, row: Row) -> list[str | None]:
    """A row as a line: values of what is beside it stand in columns of their own, lists in one."""

    def cell(value: Any) -> str | None:
        plain = value is None or isinstance(value, str)
        return value if plain else rows.encode(value).decode()

    found = [cell(row[name]) for name in shape.table.names]
    for member, table in shape.members.items():
        beside = row[member]
        if table is None or member in ("markets", "lifecycle"):
            found.append(cell(beside))
        else:
            found += [cell((beside or {}).get(name)) for name in table.names]
    return found


def titles(shape: Shape) -> list[str]:
    found = list(shape.table.names)
    for member, table in shape.members.items():
        if table is None or member in ("markets", "lifecycle"):
            found.append(member)
        else:
            found += [f"{member}.{name}" for name in table.names]
    return found


def read_form(form: str, body: bytes, shape: Shape, expected: list[Row]) -> bool:
    """Whether a reply in this form has these rows."""
    if form == "csv":
        header, *lines = records(body.decode())
        return header == titles(shape) and lines == [cells(shape, row) for row in expected]
    if form == "jsonl":
        lines_of_json = body.split(b"\n")
        assert lines_of_json.pop() == b""
        return [rows.decode(line, 200) for line in lines_of_json] == expected
    return bool(rows.decode(body, 200) == expected)


OF_BOTH_KINDS: Mapping[str, list[tuple[str, str]]] = {
    "series": [],
    "events": [("multivariate", "include")],
    "markets": [("multivariate", "include")],
}
FORMS = {
    "array": "application/vnd.ssmd.array+json",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv",
}


@pytest.mark.parametrize(
    "each", [pytest.param(1, id="one form each"), pytest.param(3, marks=pytest.mark.slow)]
)
async def test_what_is_included_is_what_a_naive_reader_puts_together(
    api: Client, found: Naive, each: int
) -> None:
    """In every form, asked for by parameter or by Accept; of lists in pages, and of exports."""
    rng = Random(SEED)
    few, one = asyncio.Semaphore(6), asyncio.Semaphore(1)
    turns = cycle(FORMS)

    async def check(
        entity: str, included: Sequence[str], asked: Row, forms: Sequence[str]
    ) -> str | None:
        query = [("include", ",".join(included))] if included else []
        query += [(name, ",".join(values)) for name, values in asked.items()]
        query += OF_BOTH_KINDS[entity]
        shape = shapes.LISTS[entity].including(included)
        shape = shape.selected(asked.get("fields", []), asked.get("exclude", []))
        expected = found.page(entity, shape)
        got: list[Row] = []
        cursor: str | None = ""
        async with few:
            while cursor is not None:
                page = [*query, ("cursor", cursor), ("limit", str(rng.choice([40, 1000])))]
                reply = await api.get(f"/v1/{entity}", params=page)
                if reply.status != 200:
                    return f"{entity} {query}: {reply.json}"
                document = rows.decode(reply.body, 200)
                got += document[entity]
                cursor = document["cursor"]
            for form in forms:
                asked_by = rng.choice([{"headers": {"Accept": FORMS[form]}}, {}])
                whole = [*query, ("limit", "1000"), *([] if asked_by else [("format", form)])]
                path = f"/v1/{entity}"
                if rng.random() < 0.3:
                    path, whole = "/v1/export", [*query, ("entity", entity), ("format", form)]
                async with one:
                    reply = await api.get(path, params=whole, **asked_by)
                if reply.status != 200 or not read_form(form, reply.body, shape, expected):
                    return f"{path} {whole}: {reply.status} {reply.body[:1000]!r}"
        if got == expected:
            return None
        wrong = [(a, b) for a, b in zip(got, expected, strict=False) if a != b][:1]
        return f"{entity} {query}: {len(got)} of {len(expected)}, {wrong}"

    checks = [
        check(entity, included, asked, list(islice(turns, each)))
        for entity, whole in shapes.LISTS.items()
        for included in subsets([*whole.includes])
        for asked in selections(whole, included, rng)
    ]
    wrong = [each for each in await asyncio.gather(*checks) if each]
    assert not wrong, f"{len(wrong)} of {len(checks)}: " + "\n".join(wrong[:3])


ONE = {"series": shapes.ONE_SERIES, "events": shapes.ONE_EVENT, "markets": shapes.ONE_MARKET}


async def test_single_rows_and_lookups_have_the_same(api: Client, found: Naive) -> None:
    """Deleted ones too, where they are read alone."""
    for entity, whole in ONE.items():
        key = whole.table.columns[0].name
        for row in found.tables[entity][:8]:
            everything = found.whole(entity, row)
            for included in subsets([*whole.includes]):
                asked = f"include={','.join(included)}&exclude=fee,counts" if included else ""
                if entity != "series":
                    asked = asked.partition("&")[0]
                elif not asked:
                    asked = "exclude=fee,counts"
                reply = await api.get(f"/v1/{entity}/{row[key]}?{asked}")
                shape = whole.including(included)
                members = {
                    name: table
                    for name, table in shape.members.items()
                    if name not in ("fee", "counts")
                }
                expected = Shape(shape.table, members).pick(everything)
                assert rows.decode(reply.body, 200) == expected, (entity, row[key], included)
    tickers = [str(row["ticker"]) for row in found.tables["markets"][:30]]
    for included in subsets([*shapes.LOOKUP.includes]):
        asked = f"include={','.join(included)}" if included else ""
        for fields in ("", ",".join(["title", *included])):
            shape = (shapes.ANY_LOOKUP if fields else shapes.LOOKUP).including(included)
            shape = shape.selected(fields.split(",") if fields else [], [])
            path = f"/v1/markets/lookup?{asked}{fields and f'&fields={fields}'}"
            reply = await api.ask("POST", path, json={"tickers": [*tickers, "NONE"]})
            document = rows.decode(reply.body, 200)
            here = [row for row in found.tables["markets"][:30] if row["deleted_at"] is None]
            assert document["markets"] == [
                shape.pick(found.whole("markets", row)) for row in here
            ], path
            assert "NONE" in document["missing"]


async def test_as_of_a_moment_all_of_it_is_of_that_moment(
    api: Client, found: Naive, database: Database
) -> None:
    """What was included then, though everything has changed since."""
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        cursor = await connection.execute("SELECT clock_timestamp()")
        await asyncio.sleep(0.01)
        for table in ("series", "events", "markets"):
            await connection.execute(f"UPDATE {table} SET title = 'later'")  # type: ignore[arg-type]
        await connection.execute("UPDATE events SET fee_multiplier_override = '7'")
        await connection.execute("UPDATE series_fees SET fee_multiplier = '7'")
        await connection.execute("DELETE FROM markets WHERE ticker LIKE '%-M1%'")
        row = await cursor.fetchone()
        assert row
    then = row[0].isoformat().replace("+00:00", "Z")
    for entity, whole in shapes.LISTS.items():
        included = [name for name in whole.includes if name != "lifecycle"]
        shape = whole.including(included)
        names = [name for name in shape.leaves if not is_volatile(shape, name)]
        query = {"include": ",".join(included), "as_of": then, "exclude": ",".join(
            name for name in shape.leaves if name not in names)}  # fmt: skip
        query.update(OF_BOTH_KINDS[entity])
        reply = await api.get(f"/v1/{entity}", params=query)
        assert reply.status == 200, reply.json
        expected = found.page(entity, shape.selected(names, []))
        assert rows.decode(reply.body, 200)[entity] == expected, entity
        exported = await api.get("/v1/export", params={**query, "entity": entity})
        lines = [rows.decode(line, 200) for line in exported.body.splitlines()]
        assert lines == expected
    refused = await api.get(f"/v1/markets?include=lifecycle&as_of={then}")
    assert refused.status == 400
    assert "see history" in refused.json["detail"]


def is_volatile(shape: Shape, name: str) -> bool:
    member, _, column = name.rpartition(".")
    table = shape.members[member] if member else shape.table
    return table is not None and column in table.names and table[column].volatile
