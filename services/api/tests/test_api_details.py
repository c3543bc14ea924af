"""Single reads: one series, event, market; lookups, lifecycle, fees, statistics."""

import asyncio
import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from api_testbed import Client
from api_universe import NOW, insert

from ssmd_api.store import Store
from ssmd_stack.database import Database

pytestmark = pytest.mark.usefixtures("universe")

TICKER = "KXBTCD-26FEB03-T97500.99"


async def test_a_series_has_its_fee_and_its_counts(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await insert(
            connection,
            "series_fees",
            series_ticker="KXBTCD",
            fee_type="quadratic_with_maker_fees",
            fee_multiplier="1",
            effective_from=NOW - timedelta(days=1),
        )
    found = await api.ok("/v1/series/KXBTCD")
    assert found["ticker"] == "KXBTCD"
    assert found["fee"]["fee_type"] == "quadratic_with_maker_fees"
    assert found["extra"] == {"contract_terms_url": "https://x.test/t"}
    assert found["counts"] == {
        "events": {"open": 1, "closed": 0, "settled": 1},
        "markets": {"open": 1, "active": 1, "closed": 1, "settled": 1},
    }


async def test_an_event_has_its_markets(api: Client) -> None:
    found = await api.ok("/v1/events/KXBTCD-26FEB03")
    assert [market["ticker"] for market in found["markets"]] == [
        TICKER,
        "KXBTCD-26FEB03-T98000",
        "KXBTCD-26FEB03-T98500",
    ]
    assert found["extra"] == {"available_on_brokers": False}
    assert found["series"]["ticker"] == "KXBTCD"


async def test_a_market_is_exact(api: Client) -> None:
    found = await api.ok(f"/v1/markets/{TICKER}")
    assert found["yes_bid"] == 45
    assert found["yes_bid_dollars"] == "0.450000"
    assert found["floor_strike"] == "97500.990"
    assert found["open_time"] == "2026-02-03T22:05:00.12Z"
    assert found["close_time"] == (NOW + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert found["rules_primary"] == 'quotes " and \\ and\nnewlines, ünïcode'
    assert found["event"]["event_ticker"] == "KXBTCD-26FEB03"
    assert found["series"]["tags"] == ["BTC", "Hourly"]
    raw = (await api.get(f"/v1/markets/{TICKER}")).body
    assert b'"a":[1.10,null,"x\\"y"]' in raw
    assert b'"big":12345678901234567890123' in raw


CATEGORIES = {
    TICKER: "Crypto",
    "KXBTCD-26FEB02-T90000": "Financials",
    "KXNBAGAME-26FEB03HOUPIT-HOU": "Sports",
    "KXOLD-25-A": "Politics",
}


async def test_a_market_says_its_category_and_its_expiration(
    api: Client, database: Database
) -> None:
    """Words of the first design, in lists, in exports and alone, with what they follow from or
    without; also of a time that Python cannot hold."""
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE markets SET latest_expiration_time = 'infinity' WHERE ticker = 'KXOLD-25-A'"
        )
        await connection.execute(
            "UPDATE markets SET latest_expiration_time = '2026-03-01' WHERE ticker = %s", (TICKER,)
        )
    listed = {row["ticker"]: row for row in (await api.ok("/v1/markets"))["markets"]}
    asked = "fields=ticker,category,expiration_time"
    few = {row["ticker"]: row for row in (await api.ok(f"/v1/markets?{asked}"))["markets"]}
    for ticker, category in CATEGORIES.items():
        alone = await api.ok(f"/v1/markets/{ticker}")
        sparse = await api.ok(f"/v1/markets/{ticker}?{asked}")
        for row in (alone, listed[ticker]):
            assert row["category"] == category
            assert row["expiration_time"] == row["latest_expiration_time"]
            assert sparse == few[ticker] == {name: row[name] for name in sparse}
    assert few[TICKER]["expiration_time"] == "2026-03-01T00:00:00Z"
    exported = (await api.get(f"/v1/export?format=csv&{asked}")).body.decode()
    assert f"{TICKER},Crypto,2026-03-01T00:00:00Z\r\n" in exported
    then = await api.ok(f"/v1/markets?as_of=-0s&series=KXOLD&{asked}")
    assert then["markets"] == [few["KXOLD-25-A"]]


async def test_a_deleted_market_can_be_read_and_says_so(api: Client) -> None:
    assert (await api.ok("/v1/markets/KXBTCD-26FEB03-GONE"))["deleted_at"] is not None


async def test_what_is_not_there_is_404(api: Client) -> None:
    for path in (
        "/v1/series/NONE",
        "/v1/events/NONE",
        "/v1/markets/NONE",
        "/v1/markets/NONE/lifecycle",
        "/v1/markets/%00",
        "/v1/markets/" + "X" * 3000,
        "/v1/fees/NONE",
        "/v1/fees?tier=NONE",
        "/v1/fees/KXBTCD?price=0.5&tier=NONE",
        "/v1/nothing",
    ):
        reply = await api.get(path)
        assert reply.status == 404, path
        assert reply.headers["Content-Type"].startswith("application/problem+json")


async def test_lookup_keeps_the_order_and_names_the_missing(api: Client) -> None:
    tickers = ["KXOLD-25-A", "NONE", TICKER, "KXBTCD-26FEB03-GONE", TICKER]
    reply = await api.ask("POST", "/v1/markets/lookup", json={"tickers": tickers})
    assert reply.status == 200
    assert [row["ticker"] for row in reply.json["markets"]] == ["KXOLD-25-A", TICKER]
    assert reply.json["markets"][1]["status"] == "active"
    assert reply.json["markets"][1]["event_ticker"] == "KXBTCD-26FEB03"
    assert reply.json["missing"] == ["NONE", "KXBTCD-26FEB03-GONE"]
    # If-None-Match spares replies to GET.
    again = {"If-None-Match": reply.headers["ETag"]}
    asked = {"tickers": tickers}
    reply = await api.ask("POST", "/v1/markets/lookup", json=asked, headers=again)
    assert reply.status == 200


async def test_a_bad_lookup_is_400(api: Client) -> None:
    for body in (
        "",
        "[]",
        '{"tickers":"x"}',
        '{"tickers":[1]}',
        '{"tickers":[],"x":1}',
        '{"tickers":[""]}',
        '{"tickers":["a\\u0000"]}',
        '{"tickers":[' + ",".join(['"x"'] * 1001) + "]}",
    ):
        reply = await api.ask("POST", "/v1/markets/lookup", data=body)
        assert reply.status == 400, body
        assert reply.json["errors"][0]["parameter"] == "tickers"


async def test_too_large_a_body_is_413(api: Client) -> None:
    reply = await api.ask("POST", "/v1/markets/lookup", data=io.BytesIO(b"x" * (1 << 21)))
    assert reply.status == 413
    assert reply.json["type"] == "urn:ssmd:problem:request-entity-too-large"


async def test_lifecycle_in_order_and_in_pages(api: Client, database: Database) -> None:
    kinds = ["created", "opened", "closed", "determined", "settled"]
    async with database.connect() as connection:
        for number, kind in enumerate(kinds):
            await insert(
                connection,
                "market_lifecycle_events",
                market_ticker=TICKER,
                event_ticker="KXBTCD-26FEB03",
                event_type=kind,
                metadata={"type": kind, "n": 1},
                dedupe_key=str(number),
            )
    path = f"/v1/markets/{TICKER}/lifecycle"
    whole = await api.ok(path)
    assert [row["event_type"] for row in whole["lifecycle"]] == kinds
    assert whole["lifecycle"][0]["metadata"] == {"n": 1, "type": "created"}
    found, cursor = [], ""
    while cursor is not None:
        document = await api.ok(f"{path}?limit=2{cursor and f'&cursor={cursor}'}")
        found += [row["event_type"] for row in document["lifecycle"]]
        cursor = document["cursor"]
    assert found == kinds


async def test_lifecycle_of_a_market_that_is_only_in_messages(
    api: Client, database: Database
) -> None:
    async with database.connect() as connection:
        await insert(
            connection,
            "market_lifecycle_events",
            market_ticker="EARLY",
            event_type="created",
            metadata={},
            dedupe_key="x",
        )
    assert len((await api.ok("/v1/markets/EARLY/lifecycle"))["lifecycle"]) == 1


async def test_fee_tiers(api: Client) -> None:
    tier = {
        "tier": "default",
        "maker_fee": "0.017500",
        "taker_fee": "0.070000",
        "source": "table fees",
    }
    assert await api.ok("/v1/fees") == {"fees": [tier]}
    assert await api.ok("/v1/fees?tier=default") == {"fees": [tier]}


async def test_fees_as_of_a_time_are_those_of_that_time(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        for multiplier, begin, end in (
            ("0.5", "2026-01-01", "2026-02-01"),
            ("2", "2026-02-01", None),
        ):
            await insert(
                connection,
                "series_fees",
                series_ticker="KXBTCD",
                fee_type="quadratic_with_maker_fees",
                fee_multiplier=multiplier,
                effective_from=f"{begin}T00:00:00Z",
                effective_to=end and f"{end}T00:00:00Z",
            )
    path = "/v1/fees/KXBTCD?price=0.50&count=100&as_of="
    then = await api.ok(f"{path}2026-01-31T23:59:59Z")
    assert then["in_force"]["fee_multiplier"] == "0.5000"
    assert then["as_of"] == "2026-01-31T23:59:59Z"
    assert then["fee"]["cost"] == {"taker_dollars": "0.8750", "maker_dollars": "0.2188"}
    assert len(then["schedule"]) == 2
    on_the_edge = await api.ok(f"{path}2026-02-01T00:00:00Z")
    assert on_the_edge["in_force"]["fee_multiplier"] == "2.0000"
    assert on_the_edge["fee"]["cost"]["taker_dollars"] == "3.5000"
    before = await api.ok(f"{path}2025-12-31")
    assert before["in_force"] is None
    assert before["fee"]["cost"] is None


async def test_fees_of_a_series_that_never_changed_are_the_series_own(api: Client) -> None:
    found = await api.ok("/v1/fees/KXBTCD?price=0.55")
    assert found["in_force"]["fee_multiplier"] == "0.50"
    assert found["fee"]["count"] == "1"
    assert found["fee"]["cost"] == {"taker_dollars": "0.0087", "maker_dollars": "0.0000"}
    assert (await api.ok("/v1/fees/KXOLD"))["in_force"] is None


async def test_statistics(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        for outcome in ("ok", "failed"):
            await insert(
                connection,
                "sync_runs",
                job="everything",
                scope={},
                outcome=outcome,
                finished_at=NOW,
                fetched=5,
            )
        await insert(connection, "sync_watermarks", name="all", watermark=NOW)
    series = await api.ok("/v1/stats/series")
    assert (series["series"], series["active"], series["games"]) == (3, 2, 1)
    markets = await api.ok("/v1/stats/markets?limit=1")
    assert markets["markets"] == 7
    assert markets["by_status"] == {"open": 1, "active": 3, "closed": 2, "settled": 1}
    assert {row["category"]: row["markets"] for row in markets["by_category"]} == {
        "Crypto": 3,
        "Sports": 2,
        "Financials": 1,
        "Politics": 1,
    }
    assert [row["series_ticker"] for row in markets["by_series"]] == ["KXBTCD"]
    assert markets["closing_within"] == {"1h": 0, "24h": 3, "7d": 4}
    assert [tuple(row.values()) for row in series["by_series"]] == [
        ("KXBTCD", "Crypto", True, 2, 4),
        ("KXNBAGAME", "Sports", True, 1, 2),
        ("KXOLD", None, False, 1, 1),
    ]
    one = await api.ok("/v1/stats/markets?series=KXBTCD&category=Crypto")
    assert one["by_status"] == {"open": 1, "active": 1, "closed": 1, "settled": 0}
    assert one["closing_within"] == {"1h": 0, "24h": 2, "7d": 2}
    assert (await api.ok("/v1/stats/markets?category=Sports"))["markets"] == 2
    assert (await api.ok("/v1/stats/series?series=KXOLD"))["series"] == 1
    assert (await api.ok("/v1/stats/series?category=Crypto"))["by_series"][0]["events"] == 2
    sync = await api.ok("/v1/stats/sync")
    assert sync["jobs"]["everything"]["last_run"]["outcome"] == "failed"
    assert sync["jobs"]["everything"]["last_success_at"] is not None
    assert [run["outcome"] for run in sync["recent_runs"]] == ["failed", "ok"]
    assert list(sync["watermarks"]) == ["all"]


async def test_counts_are_made_once_for_all_who_ask_within_seconds(
    api: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the reply says when."""
    asked = []
    count = Store.stats_markets

    async def counted(self: Store, now: datetime, **more: Any) -> Any:
        asked.append(now)
        return await count(self, now, **more)

    monkeypatch.setattr(Store, "stats_markets", counted)
    paths = ("", "?limit=1", "?series=KXBTCD", "?category=Sports")
    replies = await asyncio.gather(*(api.get(f"/v1/stats/markets{path}") for path in paths * 5))
    assert {reply.status for reply in replies} == {200}
    assert len(asked) == 1
    (counted_at,) = {reply.json["counted_at"] for reply in replies}
    assert datetime.fromisoformat(counted_at) == asked[0]
    assert all(int(reply.headers["X-Ssmd-Age"]) < 60 for reply in replies)
    async with database.connect() as connection:
        await connection.execute("UPDATE markets SET deleted_at = now()")
    monkeypatch.setattr("ssmd_api.counts.KEPT_SECONDS", 0)
    assert (await api.ok("/v1/stats/markets"))["markets"] == 0
    assert len(asked) == 2
