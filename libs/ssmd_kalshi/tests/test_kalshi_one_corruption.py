"""One corruption in a random real-shaped universe: everything else is read exactly.

Here in the reading of replies, page and single; into PostgreSQL in tests/integration.
"""

import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from corruption import COLUMNS, IDENTITY, NO_IDENTITY, Corruption, every, fields, random_one

from ssmd_common import models
from ssmd_kalshi import convert, decode, markets
from ssmd_kalshi.drift import Drift
from ssmd_kalshi.errors import BadFieldError
from ssmd_kalshi.unread import json_fault
from ssmd_kalshi.wire import WireEvent, WireMarket
from ssmd_simulator.corruption import spoilt
from ssmd_simulator.server import Simulator

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ROWS = 8
ENTITIES = tuple(COLUMNS)
KEYS = {"market": "markets", "event": "events", "series": "series"}
READERS: dict[str, decode.PageReader[Any]] = {
    "market": decode.MARKETS,
    "event": decode.EVENTS,
    "series": decode.SERIES_LIST,
}

Row = models.Market | models.Event | models.Series
Read = dict[str, Row]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def universe() -> AsyncIterator[dict[str, list[dict[str, Any]]]]:
    """Rows as the simulated exchange sends them, of more than one universe."""
    found: dict[str, list[dict[str, Any]]] = {"market": [], "event": [], "series": []}
    for seed in (11, 12):
        async with (
            Simulator("small", seed=seed, budget=0) as simulator,
            aiohttp.ClientSession() as http,
        ):
            for entity, path in (
                ("market", "/markets?limit=1000"),
                ("event", "/events?limit=100&with_nested_markets=true"),
                ("series", "/series?include_volume=true"),
            ):
                async with http.get(simulator.base_url + path) as reply:
                    found[entity] += (await reply.json())[KEYS[entity]]
    yield found


def page(entity: str, rows: list[dict[str, Any]]) -> bytes:
    return json.dumps({KEYS[entity]: rows, "cursor": "next"}).encode()


def read(entity: str, body: bytes) -> tuple[Read, int]:
    """Every row of a page by ticker, an event's markets among them; how many had no identity."""
    reader: decode.PageReader[Any] = READERS[entity]
    listed = reader.page(body, Drift())
    found: Read = {}
    rejected = len(listed.rejected_rows)
    for wire in listed.items:
        for row in (wire, *(getattr(wire, "markets", None) or ())):
            try:
                if isinstance(row, WireMarket):
                    found[row.ticker] = markets.market(row, "S", NOW)
                elif isinstance(row, WireEvent):
                    found[row.event_ticker] = convert.event(row)
                else:
                    found[row.ticker] = convert.series(row)
            except BadFieldError:
                rejected += 1
    return found, rejected


def without(row: Row, field: str) -> Row:
    row = msgspec.structs.replace(row, rejected=())
    extra = {name: value for name, value in (row.extra or {}).items() if name != field}
    return msgspec.structs.replace(row, extra=extra or None)


def check(entity: str, rows: list[dict[str, Any]], one: Corruption) -> None:
    body = page(entity, rows)
    where = (one.entity, one.ticker, one.field)
    found, rejected = read(entity, spoilt(body, *where, one.text))
    expected, _ = read(entity, spoilt(body, *where, None))
    assert not rejected
    assert found.keys() == expected.keys()
    for ticker, row in found.items():
        if ticker != one.ticker:
            assert row == expected[ticker]
            assert not row.rejected
    bad, good = found[one.ticker], without(expected[one.ticker], one.field)
    assert [field.field for field in bad.rejected] == [one.field]
    assert bad.rejected[0].reason.startswith(f"{one.field} is ")
    nested = entity == "event" and (one.entity, one.field) == ("market", "event_ticker")
    assert bad.kept == set(() if nested else one.columns)
    assert without(bad, one.field) == good
    assert bad.extra is not None
    assert bad.extra[one.field] is not None
    assert json_fault(bad.extra[one.field]) is None
    again, _ = read(entity, spoilt(body, *where, one.text))
    assert again == found, "the same bad row again is equal to itself"


@pytest.mark.parametrize("seed", range(90))
def test_one_corruption(seed: int, universe: dict[str, list[dict[str, Any]]]) -> None:
    chance = random.Random(seed)
    entity = ENTITIES[seed % 3]
    start = chance.randrange(len(universe[entity]) - ROWS)
    rows = universe[entity][start : start + ROWS]
    named = [(entity, row[IDENTITY[entity]]) for row in rows]
    if entity == "event":
        named += [("market", market["ticker"]) for row in rows for market in row["markets"]]
    check(entity, rows, random_one(chance, *chance.choice(named)))


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_fault_of_every_field(entity: str, universe: dict[str, list[dict[str, Any]]]) -> None:
    rows = random.Random(5).sample(universe[entity], 2)
    for one in every(entity, rows[0][IDENTITY[entity]]):
        if len(one.text) < 20_000 or one.field in ("title", "brand_new_field"):
            check(entity, rows, one)


@pytest.mark.parametrize("text", NO_IDENTITY)
@pytest.mark.parametrize("entity", ENTITIES)
def test_only_a_row_without_identity_is_rejected_whole(
    entity: str, text: str, universe: dict[str, list[dict[str, Any]]]
) -> None:
    rows = universe[entity][:ROWS]
    body, ticker = page(entity, rows), rows[3][IDENTITY[entity]]
    expected, _ = read(entity, body)
    found, rejected = read(entity, spoilt(body, entity, ticker, IDENTITY[entity], text))
    # A ticker's characters are looked at where the row is converted, and its markets are read then.
    assert rejected == 1
    if entity == "event" and text in ('"A B"', '"A\\u0007"'):
        assert found.keys() == expected.keys() - {ticker}
        return
    gone = {market["ticker"] for market in rows[3].get("markets", ())} | {ticker}
    assert found == {name: row for name, row in expected.items() if name not in gone}


def test_the_specification_s_fields_are_covered() -> None:
    for entity in ENTITIES:
        known = fields(entity)
        assert COLUMNS[entity].keys() - known.keys() <= {IDENTITY[entity]}
        assert len(known) > 14
