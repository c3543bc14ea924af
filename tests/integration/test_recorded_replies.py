"""Replies that the real exchange gave, through sync into PostgreSQL and out at the API.

The recordings are not part of the project: they are looked for in SSMD_KALSHI_DATA, then in
../shared/kalshi beside the project's root.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
import pytest_asyncio
from psycopg.rows import dict_row

from ssmd_common import apikeys
from ssmd_simulator.server import Simulator
from ssmd_stack import forked
from ssmd_stack.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SSMD_KALSHI_DATA") or ROOT.parent / "shared" / "kalshi")
RECORDINGS = DATA / "recordings"
DEADLINE_SECONDS = 180.0

pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"no recorded replies in {RECORDINGS}: set SSMD_KALSHI_DATA"
)

Raw = dict[str, Any]

PRICES = ("yes_bid", "yes_ask", "no_bid", "no_ask", "last_price")
COUNTS = ("volume", "volume_24h", "open_interest")
TIMES = ("open_time", "close_time", "expected_expiration_time", "latest_expiration_time")
TEXTS = (
    "ticker",
    "event_ticker",
    "title",
    "yes_sub_title",
    "no_sub_title",
    "market_type",
    "strike_type",
    "rules_primary",
    "price_level_structure",
    "mve_collection_ticker",
    "result",
    "expiration_value",
)


def recorded(name: str) -> Raw:
    reply = json.loads((RECORDINGS / f"{name}_response.json").read_text())
    return dict(reply["response"])


def every_market() -> dict[str, Raw]:
    found = recorded("markets_list")["markets"] + recorded("event_single")["markets"]
    return {market["ticker"]: market for market in [*found, recorded("market_single")["market"]]}


def every_event() -> dict[str, Raw]:
    found = [*recorded("events_list")["events"], recorded("event_single")["event"]]
    return {event["event_ticker"]: event for event in found}


def every_series() -> dict[str, Raw]:
    found = [*recorded("series_list")["series"], recorded("series_single")["series"]]
    return {series["ticker"]: series for series in found}


@asynccontextmanager
async def process(module: str, *arguments: str, **variables: str) -> AsyncIterator[Any]:
    environment = {**os.environ, "OPS_HOST": "127.0.0.1", "OPS_PORT": str(free_port()), **variables}
    # Shown with a test that fails.
    running = await forked.start(module, *arguments, env=environment, stdout=sys.__stderr__)
    try:
        yield running
    finally:
        running.terminate()
        await running.wait()


class Api:
    """The API of the mirrored recordings."""

    def __init__(self, session: aiohttp.ClientSession, url: str, database_url: str) -> None:
        self._session = session
        self.url = url
        self.database_url = database_url

    async def get(self, path: str, **query: str) -> Any:
        async with self._session.get(self.url + path, params=query) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def answers(self) -> bool:
        try:
            async with self._session.get(self.url + "/readyz") as reply:
                return reply.status == 200
        except aiohttp.ClientError:
            return False

    async def rows(self, query: str) -> list[Raw]:
        async with await psycopg.AsyncConnection.connect(
            self.database_url, row_factory=dict_row
        ) as connection:
            return await (await connection.execute(query)).fetchall()  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def api(database: Any) -> AsyncIterator[Api]:
    """Everything is read once, and once more as updates: that listing has the combos."""
    async with Simulator("small", replay=RECORDINGS) as exchange:
        variables = {"DATABASE_URL": database.url, "KALSHI_BASE_URL": exchange.base_url}
        for job in ("everything", "updates", "everything", "updates"):
            async with process("ssmd_sync", "run", job, **variables) as sync:
                async with asyncio.timeout(DEADLINE_SECONDS):
                    assert await sync.wait() == 0
    key = apikeys.generate("test")
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
            " VALUES ('test', %s, %s, '{read}', 100000)",
            (key.prefix, key.hash),
        )
    port = str(free_port())
    variables = {
        "DATABASE_URL": database.url,
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "API_HOST": "127.0.0.1",
        "API_PORT": port,
    }
    headers = {"X-API-Key": key.text}
    async with (
        process("ssmd_api", **variables),
        aiohttp.ClientSession(headers=headers) as session,
    ):
        made = Api(session, f"http://127.0.0.1:{port}", database.url)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await made.answers():  # noqa: ASYNC110 - it asks another process
                await asyncio.sleep(0.05)
        yield made


async def test_recorded_replies_come_out_at_the_api(api: Api) -> None:
    # Every market: the ones whose events nobody recorded have a place too.
    wanted = every_market()
    assert {row["ticker"] for row in await api.rows("SELECT ticker FROM markets")} == set(wanted)
    for ticker, raw in wanted.items():
        market = await api.get(f"/v1/markets/{ticker}")
        assert_market(market, raw)

    events, series = every_event(), every_series()
    for ticker, raw in events.items():
        event = await api.get(f"/v1/events/{ticker}")
        event = event.get("event", event)
        for name in ("event_ticker", "series_ticker", "title", "sub_title", "category"):
            assert event[name] == (raw[name] or None), name
        assert event["mutually_exclusive"] == raw["mutually_exclusive"]

    listed: dict[str, Raw] = {}
    cursor = ""
    while cursor is not None:
        page = await api.get("/v1/series", limit="100", **({"cursor": cursor} if cursor else {}))
        listed |= {row["ticker"]: row for row in page["series"]}
        cursor = page["cursor"]
    for ticker, raw in series.items():
        row = listed[ticker]
        for name in ("title", "category", "frequency", "fee_type", "tags"):
            assert row[name] == (raw[name] or None), (ticker, name)
        assert Decimal(str(row["fee_multiplier"])) == Decimal(str(raw["fee_multiplier"]))
        assert row["is_game"] is ("GAME" in ticker or "MATCH" in ticker)

    # A series that never changed its fee has it in the schedule all the same.
    fees = await api.rows("SELECT series_ticker FROM series_fees")
    assert {row["series_ticker"] for row in fees} >= set(series)
    runs = await api.rows("SELECT outcome, rejected_rows FROM sync_runs")
    assert [(run["outcome"], run["rejected_rows"]) for run in runs] == [("ok", [])] * 4


def assert_market(market: Raw, raw: Raw) -> None:
    """Recordings of January 2026 carry cents and dollars side by side: both must come out."""
    market = market.get("market", market)
    for name in TEXTS:
        assert market[name] == (raw.get(name) or None), name
    for name in TIMES:
        assert datetime.fromisoformat(market[name]) == datetime.fromisoformat(raw[name]), name
    combined = raw.get("mve_collection_ticker") is not None
    for name in () if combined else PRICES:
        assert market[name] == raw[name], name
        exact = Decimal(str(market[f"{name}_dollars"]))
        assert exact == Decimal(raw[f"{name}_dollars"]), name
    for name in () if combined else COUNTS:
        assert market[name] == raw[name], name
        assert Decimal(str(market[f"{name}_fp"])) == raw[name], name
    assert market["status"] == {"active": "active"}[raw["status"]]
    assert market["exchange_status"] == raw["status"]
    assert market["can_close_early"] == raw["can_close_early"]
    assert market["custom_strike"] == raw.get("custom_strike")
    assert market["price_ranges"] == raw["price_ranges"]
    # The year 1 is how the exchange writes that it does not know.
    assert market["exchange_updated_at"] is None
    assert market["mve_selected_legs"] == raw.get("mve_selected_legs")
    if combined:
        assert {market[name] for name in (*PRICES, *COUNTS)} == {None}
    assert market["extra"]["settlement_timer_seconds"] == raw["settlement_timer_seconds"]
