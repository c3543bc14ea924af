"""Times that PostgreSQL holds and Python does not: one spelling everywhere, and nothing breaks."""

import csv
import io
import json
from typing import Any

import psycopg
import pytest
import redis.asyncio as aioredis
from api_testbed import Client, Serve
from nats.js.client import JetStreamContext

from ssmd_common.keys import Keys
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.valkey import ValkeyServer

pytestmark = pytest.mark.usefixtures("universe")

# As PostgreSQL writes them, and as everything of ours does; in their order.
SPELLINGS = {
    "-infinity": "-infinity",
    "4713-02-03 00:00:00+00 BC": "-4712-02-03T00:00:00Z",
    "0044-03-15 01:02:03.5+00 BC": "-0043-03-15T01:02:03.5Z",
    "0001-12-31 23:59:59.999999+00 BC": "0000-12-31T23:59:59.999999Z",
    "0001-01-01 00:00:00+00": "0001-01-01T00:00:00Z",
    "2026-02-03 22:05:00.12+00": "2026-02-03T22:05:00.12Z",
    "9999-12-31 23:59:59.999999+00": "9999-12-31T23:59:59.999999Z",
    "15000-12-31 23:40:28+00": "+15000-12-31T23:40:28Z",
    "infinity": "infinity",
}
TICKERS = [f"FAR-1-{number}" for number in range(len(SPELLINGS))]
OF_MARKETS = (
    "close_time",
    "open_time",
    "expected_expiration_time",
    "latest_expiration_time",
    "settled_time",
    "exchange_updated_at",
    "observed_at",
    "created_at",
    "updated_at",
)


@pytest.fixture
async def far(database: Database, universe: None) -> None:
    """A market for each spelling, which has it in all its times; and so its event and series."""
    async with database.connect() as connection:
        for number, (ticker, text) in enumerate(zip(TICKERS, SPELLINGS, strict=True)):
            await connection.execute(
                "INSERT INTO series (ticker, exchange_updated_at, created_at, updated_at)"
                " VALUES (%s, %s, %s, %s)", (f"FAR{number}", text, text, text)
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO events (event_ticker, series_ticker, strike_date, exchange_updated_at,"
                " created_at, updated_at) VALUES (%s, %s, %s, %s, %s, %s)",
                (f"FAR-{number}", f"FAR{number}", text, text, text, text),
            )
            await connection.execute(
                f"INSERT INTO markets (ticker, event_ticker, series_ticker, status,"
                f" {', '.join(OF_MARKETS)}) VALUES (%s, %s, %s, 'active',"
                f" {', '.join(['%s'] * len(OF_MARKETS))})",
                (ticker, f"FAR-{number}", f"FAR{number}", *[text] * len(OF_MARKETS)),
            )
            await connection.execute(
                "INSERT INTO market_lifecycle_events (market_ticker, event_ticker, event_type,"
                " open_ts, close_ts, determined_ts, settled_ts, sent_at, metadata, received_at,"
                " dedupe_key) VALUES (%s, 'E', 'settled', %s, %s, %s, %s, %s, '{}', %s, %s)",
                (ticker, *[text] * 6, ticker),
            )
        # A schedule that has no beginning and no end that Python could hold.
        await connection.execute(
            "INSERT INTO series_fees (series_ticker, fee_type, fee_multiplier, effective_from,"
            " effective_to) VALUES ('FAR0', 'quadratic', 1, '-infinity', '0044-01-01 BC'),"
            " ('FAR0', 'quadratic', 2, '0044-01-01 BC', '15000-01-01'),"
            " ('FAR0', 'quadratic', 3, '15000-01-01', 'infinity')"
        )


def times_of(row: dict[str, Any]) -> set[str]:
    return {row[column] for column in OF_MARKETS}


@pytest.mark.usefixtures("far")
async def test_every_reply_has_the_one_spelling(api: Client) -> None:
    for number, (ticker, spelling) in enumerate(zip(TICKERS, SPELLINGS.values(), strict=True)):
        market = await api.ok(f"/v1/markets/{ticker}")
        assert times_of(market) == {spelling}
        assert market["event"]["strike_date"] == market["series"]["updated_at"] == spelling
        event = await api.ok(f"/v1/events/FAR-{number}")
        assert event["strike_date"] == spelling
        assert times_of(event["markets"][0]) == {spelling}
        assert (await api.ok(f"/v1/series/FAR{number}"))["exchange_updated_at"] == spelling
        (listed,) = (await api.ok(f"/v1/markets?event=FAR-{number}"))["markets"]
        assert times_of(listed) == {listed["event"]["strike_date"]} == {spelling}
        (recorded,) = (await api.ok(f"/v1/markets/{ticker}/lifecycle"))["lifecycle"]
        assert {recorded[name] for name in recorded if name.endswith(("_ts", "_at"))} == {spelling}
    reply = await api.ask("POST", "/v1/markets/lookup", json={"tickers": TICKERS})
    assert [row["close_time"] for row in reply.json["markets"]] == list(SPELLINGS.values())
    fees = await api.ok("/v1/fees/FAR0?price=0.5")
    assert fees["in_force"]["fee_multiplier"].startswith("2")
    assert [step["effective_from"] for step in fees["schedule"]] == [
        "-infinity",
        "-0043-01-01T00:00:00Z",
        "+15000-01-01T00:00:00Z",
    ]
    assert (await api.ok("/v1/series/FAR0"))["fee"] == fees["in_force"]
    for path in ("/v1/search?q=FAR-1", "/v1/stats/markets", "/v1/stats/series", "/v1/stats/sync"):
        await api.ok(path)


@pytest.mark.usefixtures("far")
async def test_exports_and_snapshots_have_it(
    serve: Serve, nats_server: NatsServer, js: JetStreamContext
) -> None:
    async with serve(nats_url=nats_server.url) as api:
        lines = (await api.get("/v1/export?status=active")).body.splitlines()
        rows = {row["ticker"]: row for row in map(json.loads, lines)}
        text = (await api.get("/v1/export?status=active&format=csv")).body.decode()
        cells = {row["ticker"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
        lines = (await api.get("/v1/snapshot?tables=markets,market_lifecycle_events")).body
        snapshot = [json.loads(line) for line in lines.splitlines()[1:-1]]
    shown = {line["data"].get("ticker"): line["data"] for line in snapshot}
    recorded = [line["data"]["sent_at"] for line in snapshot if "sent_at" in line["data"]]
    for ticker, spelling in zip(TICKERS, SPELLINGS.values(), strict=True):
        for found in (rows, cells, shown):
            assert times_of(found[ticker]) == {spelling}
    assert recorded == list(SPELLINGS.values())


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize(
    ("path", "what", "column"),
    [("markets", "ticker", "close_time"), ("events", "event_ticker", "strike_date")],
)
@pytest.mark.parametrize("sign", ["", "-"])
async def test_a_list_sorted_by_such_times_is_read_through_page_by_page(
    api: Client, path: str, what: str, column: str, sign: str
) -> None:
    whole = (await api.ok(f"/v1/{path}?sort={sign}{column}&limit=1000"))[path]
    assert {row[column] for row in whole} >= set(SPELLINGS.values())
    for limit in (1, 2):
        found, cursor = [], ""
        while cursor is not None:
            page = await api.ok(f"/v1/{path}?sort={sign}{column}&limit={limit}{cursor}")
            found += page[path]
            cursor = page["cursor"] and f"&cursor={page['cursor']}"
        assert [row[what] for row in found] == [row[what] for row in whole]
    order = [row[column] for row in found if row[what].startswith("FAR")]
    assert order == list(SPELLINGS.values())[:: -1 if sign else 1]


@pytest.mark.usefixtures("far")
async def test_filters_by_time(api: Client) -> None:
    before = await api.names("/v1/markets?closing_before=2000-01-01&sort=close_time")
    assert before == TICKERS[:5]
    after = await api.names("/v1/markets?closing_after=9000-01-01&sort=close_time")
    assert after == TICKERS[6:]
    events = await api.names("/v1/events?closing_after=9000-01-01", "events")
    assert events == [f"FAR-{number}" for number in (6, 7, 8)]


@pytest.mark.usefixtures("far")
async def test_a_row_without_a_time_to_count_from_has_no_age(api: Client) -> None:
    infinite = await api.get(f"/v1/markets/{TICKERS[-1]}")
    assert "X-Ssmd-Age" not in infinite.headers
    assert (await api.get("/v1/markets?event=FAR-5")).headers["X-Ssmd-Age"]


@pytest.mark.usefixtures("far")
async def test_the_cache_gives_the_same_bytes(
    cached_api: Client, valkey_server: ValkeyServer
) -> None:
    keys, redis = Keys(), aioredis.Redis.from_url(valkey_server.url)
    for number, ticker in enumerate(TICKERS):
        path = f"/v1/markets/{ticker}"
        stored = await cached_api.get(path)
        assert stored.headers["X-Ssmd-Source"] == "database"
        # What the cache writes: these rows, in the spelling of the stream.
        series, event = f"FAR{number}", f"FAR-{number}"
        key = keys.market(series, event, ticker)
        place = {"epoch": 1, "lsn": "0/1", "seq": 0}
        market = {**stored.json, **place}
        for name, value in (
            (keys.series(series), market.pop("series")),
            (keys.event(series, event), market.pop("event")),
            (key, market),
        ):
            await redis.set(name, json.dumps({**value, **place}))
        await redis.hset(keys.markets, ticker, key)
        cached = await cached_api.get(path)
        assert cached.headers["X-Ssmd-Source"] == "cache"
        assert cached.body == stored.body
    await redis.aclose()


async def test_a_key_may_be_good_for_ever_or_never(api: Client, database: Database) -> None:
    for expires_at, revoked_at, status in (
        ("infinity", None, 200),
        ("20000-01-01", None, 200),
        ("-infinity", None, 401),
        ("0044-03-15 BC", None, 401),
        (None, "infinity", 401),
    ):
        async with database.connect() as connection:
            await connection.execute(
                "UPDATE api_keys SET expires_at = %s, revoked_at = %s", (expires_at, revoked_at)
            )
            cursor = await connection.execute("SELECT max(id) FROM api_keys")
            ((key_id,),) = await cursor.fetchall()
        api.context.authenticator.forget(key_id)
        assert (await api.get("/v1/series")).status == status, (expires_at, revoked_at)


async def test_a_fee_without_a_number_costs_nothing_that_is_known(
    api: Client, database: Database
) -> None:
    async with database.connect() as connection:
        try:
            await connection.execute("UPDATE series SET fee_multiplier = 'NaN'")
        except psycopg.Error:
            pytest.skip("the column refuses it")
    fees = await api.ok("/v1/fees/KXBTCD?price=0.5")
    assert fees["fee"]["cost"] is None
