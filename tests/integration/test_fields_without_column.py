"""What the exchange says of a series and an event and no column holds is in their `extra`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from psycopg import AsyncConnection
from pydantic import SecretStr

from ssmd_kalshi.budget import Budget
from ssmd_kalshi.rest import KalshiRest
from ssmd_lifecycle.repair.rest_upserter import RestUpserter
from ssmd_simulator.server import Simulator
from ssmd_stack.database import Database
from ssmd_store.pages import Store
from ssmd_store.sessions import Sessions
from ssmd_sync.meter import Meter
from ssmd_sync.run import Run
from ssmd_sync.scope import Mode, Scope

SERIES_EXTRA = {
    "product_metadata": {"k": 1},
    "additional_prohibitions": ["p"],
    "contract_terms_url": "https://e.example/t",
    "brand_new": "x",
}
EVENT_EXTRA = {
    "settlement_sources": [{"name": "n", "url": "https://e.example"}],
    "product_metadata": {"competition": "c"},
    "available_on_brokers": True,
    "exchange_index": 2,
    "brand_new": {"a": 1},
}
# What cannot be read is kept beside it.
UNREADABLE = {"category": ["no", "text"]}
REPLIES: dict[str, dict[str, Any]] = {
    "series_list": {"series": [{"ticker": "ZEXT", "title": "s", **SERIES_EXTRA, **UNREADABLE}]},
    "events_list": {
        "events": [
            {"event_ticker": "ZEXT-1", "series_ticker": "ZEXT", "title": "e"}
            | EVENT_EXTRA
            | UNREADABLE
        ],
        "cursor": "",
    },
    "markets_list": {"markets": [], "cursor": ""},
    "series_fee_changes": {"series_fee_change_arr": []},
}


@pytest_asyncio.fixture
async def rest(tmp_path: Path) -> AsyncIterator[KalshiRest]:
    for endpoint, response in REPLIES.items():
        reply = {"_metadata": {"endpoint": endpoint}, "response": response}
        (tmp_path / f"{endpoint}_response.json").write_text(json.dumps(reply))
    async with (
        Simulator("small", replay=tmp_path) as exchange,
        KalshiRest(exchange.base_url, budget=Meter(Budget(1_000_000))) as opened,
    ):
        yield opened


async def by_sync(database: Database, rest: KalshiRest) -> None:
    async with Store.open(SecretStr(database.url), "t", 30) as store:
        meter = rest.budget
        assert isinstance(meter, Meter)
        run = Run(job="t", scope=Scope(mode=Mode.FULL), store=store, rest=rest, meter=meter)
        report = await run()
    assert report.outcome == "ok", report.sentence


async def by_repair(database: Database, rest: KalshiRest) -> None:
    async with Sessions(SecretStr(database.url), "t", size=1, budget_seconds=30) as sessions:
        assert await RestUpserter(sessions, rest).fetch_events({"ZEXT-1"}) == {"ZEXT-1"}


async def stored(connection: AsyncConnection[Any]) -> list[Any]:
    query = "SELECT {0}.extra, {0}.category, {0}.xmin::text FROM {0}"
    found = []
    for table in ("series", "events"):
        found += await (await connection.execute(query.format(table).encode())).fetchall()
    return found


@pytest.mark.parametrize("ways", [(by_sync, by_repair), (by_repair, by_sync)])
async def test_it_is_kept_whoever_reads_it(database: Database, rest: KalshiRest, ways: Any) -> None:
    first, second = ways
    await first(database, rest)
    async with database.connect() as connection:
        found = await stored(connection)
        assert [row[:2] for row in found] == [
            (SERIES_EXTRA | UNREADABLE, None),
            (EVENT_EXTRA | UNREADABLE, None),
        ]
        await second(database, rest)
        await first(database, rest)
        assert await stored(connection) == found, "the same again writes nothing"
