"""A day begins with PostgreSQL's rows."""

import gzip
import json
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from ssmd_archiver import service
from ssmd_stack.proxy import TcpProxy

from .conftest import World, eventually

NOWHERE = "postgresql://127.0.0.1:1/nothing"

ROWS = (
    (
        "INSERT INTO series (ticker, title, tags, fee_multiplier, extra)"
        " VALUES ('S', 'a \"title\"\n', '{a,b}', 0.50, '{\"a\": [1.50]}')"
    ),
    (
        "INSERT INTO events (event_ticker, title, series_ticker, status, strike_date)"
        " VALUES ('E', 'é', 'S', 'open', '2026-02-03T22:05:00.120Z')"
    ),
    (
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status, yes_bid_dollars)"
        " SELECT 'M' || n, 'E', 'S', 'active', 0.25 FROM generate_series(1, 1200) n"
    ),
)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "STATE_SECONDS", 0.05)


async def fill(world: World) -> None:
    async with await psycopg.AsyncConnection.connect(world.database.url) as connection:
        for statement in ROWS:
            await connection.execute(statement)


async def states(world: World, count: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        return [line for line in world.lines() if line["what"] == "state"]

    async def there() -> bool:
        return len(found()) >= count

    await eventually(there, lambda: f"{count} states")
    return found()


def rows(world: World, state: dict[str, Any], table: str) -> list[dict[str, Any]]:
    [file] = [file for file in state["files"] if file["table"] == table]
    content = gzip.decompress((world.stream / state["day"] / file["path"]).read_bytes())
    return [json.loads(line) for line in content.splitlines()]


async def test_a_day_begins_with_the_rows_of_each_table(world: World) -> None:
    await fill(world)
    await world.publish(10)
    async with world.archiver():
        state, *_ = await states(world, 1)
        await world.settled()
        # Not again in the same day.
        await world.publish(10)
        await world.settled()
    days = [line["day"] for line in world.lines() if line["what"] == "state"]
    assert len(days) == len(set(days))
    assert state["after_seq"] == 10
    [series] = rows(world, state, "series")
    assert series["title"] == 'a "title"\n'
    assert (series["fee_multiplier"], series["extra"]) == ("0.50", {"a": [1.5]})
    [event] = rows(world, state, "events")
    assert event["strike_date"] == "2026-02-03T22:05:00.12Z"
    markets = rows(world, state, "markets")
    assert {market["ticker"] for market in markets} == {f"M{n}" for n in range(1, 1201)}
    assert {market["yes_bid_dollars"] for market in markets} == {"0.250000"}
    assert rows(world, state, "series_fees") == []
    assert {file["table"]: file["rows"] for file in state["files"]} == {
        "series": 1, "events": 1, "markets": 1200, "series_fees": 0,
        "fees": len(rows(world, state, "fees")),
    }  # fmt: skip


async def test_a_state_follows_what_was_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "STATE_AGAIN_SECONDS", 0.0)
    await world.publish(10)
    async with world.archiver():
        await states(world, 1)
        await world.recreate()
        await world.publish(10)
        found = await states(world, 2)
    assert [state["chain"] for state in found] == [1, 2]


async def test_without_postgresql_all_but_the_state_is_archived(world: World) -> None:
    """It is needed for a moment at the start, where faults of configuration are told."""
    async with (
        TcpProxy(world.database.url) as postgres,
        TcpProxy(world.nats_server.url) as nats,
        world.archiver(
            database_url=postgres.url, nats_url=nats.url, startup_budget_seconds=3
        ) as archiver,
    ):
        nats.freeze()
        await eventually(lambda: _is_said(archiver.health.conditions, "nats"), lambda: "no look")
        postgres.lead_to(NOWHERE)
        postgres.cut()
        nats.thaw()
        await world.publish(10)
        found = await world.settled()
        await eventually(
            lambda: _is_said(archiver.health.degraded, "state"),
            lambda: f"{archiver.health.document()}",
        )
        assert archiver.health.ready
    assert found.messages == world.published


async def _is_said(what: Mapping[str, object], name: str) -> bool:
    return name in what
