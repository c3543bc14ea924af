"""Lists: every filter, every order, and pages that miss nothing."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from api_testbed import Client
from api_universe import NOW, insert

from ssmd_api import asked, replies
from ssmd_api.parameters import Parameters
from ssmd_stack.database import Database

pytestmark = pytest.mark.usefixtures("universe")

ACTIVE = "KXBTCD-26FEB03-T97500.99"
OPEN = "KXBTCD-26FEB03-T98000"
CLOSED = "KXBTCD-26FEB03-T98500"
SETTLED = "KXBTCD-26FEB02-T90000"
HOU = "KXNBAGAME-26FEB03HOUPIT-HOU"
PIT = "KXNBAGAME-26FEB03HOUPIT-PIT"
OLD = "KXOLD-25-A"
ALL = {ACTIVE, OPEN, CLOSED, SETTLED, HOU, PIT, OLD}


MARKET_FILTERS: dict[str, set[str]] = {
    "": ALL,
    "status=open": {ACTIVE, OPEN, HOU, PIT},
    "status=active": {ACTIVE, HOU, PIT},
    "status=closed": {CLOSED, OLD},
    "status=settled": {SETTLED},
    "status=closed&status=settled": {CLOSED, OLD, SETTLED},
    "series=KXBTCD": {ACTIVE, OPEN, CLOSED, SETTLED},
    "event=KXBTCD-26FEB03": {ACTIVE, OPEN, CLOSED},
    "category=Crypto": {ACTIVE, OPEN, CLOSED},
    "category=Financials": {SETTLED},
    "category=Politics": {OLD},
    "category=politics": set(),
    "tag=BTC": {ACTIVE, OPEN, CLOSED, SETTLED},
    "tag=Basketball&tag=Hourly": {ACTIVE, OPEN, CLOSED, SETTLED, HOU, PIT},
    "games_only=true": {HOU, PIT},
    "games_only=false": ALL,
    "closing_before=3h&closing_after=0h": {ACTIVE, OPEN},
    "closing_before=0s": {CLOSED, SETTLED},
    "closing_after=24h": {PIT},
    "min_volume=50": {ACTIVE, SETTLED},
    "min_volume=0": ALL - {OPEN},
    "q=houpit": {HOU, PIT},
    "q=win+HOUPIT-p": {PIT},
    "q=100%25": set(),
    "q=__": set(),
    "series=KXBTCD&status=open&min_volume=1": {ACTIVE},
}


async def test_market_filters(api: Client) -> None:
    found = {query: set(await api.names(f"/v1/markets?{query}")) for query in MARKET_FILTERS}
    assert found == MARKET_FILTERS


async def test_a_window_includes_its_start_and_excludes_its_end(api: Client) -> None:
    closes = NOW + timedelta(hours=2)
    at, after = closes.isoformat(), (closes + timedelta(seconds=1)).isoformat()
    # The plus sign of the zone is not encoded, as people write it.
    assert await api.names(f"/v1/markets?closing_after={at}&closing_before={after}") == [
        ACTIVE,
        OPEN,
    ]
    assert ACTIVE not in await api.names(f"/v1/markets?closing_before={at}")


async def test_a_listed_market_carries_its_event_and_series(api: Client) -> None:
    (row,) = (await api.ok("/v1/markets?series=KXOLD"))["markets"]
    assert row["event"]["category"] == "Politics"
    assert row["event"]["title"] == "What of KXOLD-25?"
    assert row["series"]["ticker"] == "KXOLD"


EVENT_FILTERS: dict[str, set[str]] = {
    "": {"KXBTCD-26FEB02", "KXBTCD-26FEB03", "KXNBAGAME-26FEB03HOUPIT", "KXOLD-25"},
    "status=open": {"KXBTCD-26FEB03", "KXNBAGAME-26FEB03HOUPIT"},
    "status=settled&status=closed": {"KXBTCD-26FEB02", "KXOLD-25"},
    "series=KXBTCD": {"KXBTCD-26FEB02", "KXBTCD-26FEB03"},
    "category=Crypto": {"KXBTCD-26FEB03"},
    "tag=Basketball": {"KXNBAGAME-26FEB03HOUPIT"},
    "games_only=true": {"KXNBAGAME-26FEB03HOUPIT"},
    "closing_after=0s&closing_before=3h": {"KXBTCD-26FEB03"},
    "closing_after=24h": {"KXNBAGAME-26FEB03HOUPIT"},
    "q=what+old": {"KXOLD-25"},
}


async def test_event_filters(api: Client) -> None:
    found = {
        query: set(await api.names(f"/v1/events?{query}", "events")) for query in EVENT_FILTERS
    }
    assert found == EVENT_FILTERS


async def test_a_listed_event_counts_its_markets_without_deleted_ones(api: Client) -> None:
    counts = {
        row["event_ticker"]: row["market_count"] for row in (await api.ok("/v1/events"))["events"]
    }
    assert counts["KXBTCD-26FEB03"] == 3
    assert counts["KXBTCD-26FEB02"] == 1


SERIES_FILTERS: dict[str, set[str]] = {
    "": {"KXBTCD", "KXNBAGAME", "KXOLD"},
    "category=Crypto": {"KXBTCD"},
    "tag=Hourly": {"KXBTCD"},
    "is_game=true": {"KXNBAGAME"},
    "is_game=false": {"KXBTCD", "KXOLD"},
    "games_only=true": {"KXNBAGAME"},
    "active=false": {"KXOLD"},
    "q=100%25_g": {"KXNBAGAME"},
    "q=BITcoin": {"KXBTCD"},
}


async def test_series_filters(api: Client) -> None:
    found = {
        query: set(await api.names(f"/v1/series?{query}", "series")) for query in SERIES_FILTERS
    }
    assert found == SERIES_FILTERS


ORDERS = {
    "ticker": sorted(ALL),
    "-ticker": sorted(ALL, reverse=True),
    "close_time": [SETTLED, CLOSED, ACTIVE, OPEN, HOU, PIT, OLD],
    "-close_time": [PIT, HOU, OPEN, ACTIVE, CLOSED, SETTLED, OLD],
    "volume": [OLD, HOU, PIT, CLOSED, ACTIVE, SETTLED, OPEN],
    "-volume": [SETTLED, ACTIVE, CLOSED, PIT, HOU, OLD, OPEN],
}


async def follow(api: Client, path: str | None) -> list[str]:
    """Every ticker from a page on, along Link headers."""
    found: list[str] = []
    while path:
        reply = await api.get(path)
        assert reply.status == 200
        found += [row["ticker"] for row in reply.json["markets"]]
        following = reply.headers.get("Link")
        assert bool(following) == bool(reply.json["cursor"])
        path = following.partition(">")[0].removeprefix("<") if following else None
    return found


async def test_pages_follow_each_other_in_every_order(api: Client) -> None:
    """What is NULL comes last in either direction; of equals the tickers go the same way."""
    for limit in (1, 2, 3, 7):
        found = {s: await follow(api, f"/v1/markets?sort={s}&limit={limit}") for s in ORDERS}
        assert found == ORDERS, limit


@pytest.mark.parametrize(("path", "what"), [("/v1/events", "events"), ("/v1/series", "series")])
async def test_other_lists_have_pages_too(api: Client, path: str, what: str) -> None:
    whole = await api.names(path, what)
    for sort in ("strike_date", "-strike_date") if what == "events" else ("volume", "-volume"):
        found, cursor = [], ""
        while cursor is not None:
            document = await api.ok(f"{path}?limit=1&sort={sort}{cursor and f'&cursor={cursor}'}")
            found += [row.get("ticker") or row["event_ticker"] for row in document[what]]
            cursor = document["cursor"]
        assert sorted(found) == whole


async def test_pages_miss_nothing_while_others_insert(api: Client, database: Database) -> None:
    """Whatever was there at the start appears once, whatever comes and goes meanwhile."""
    before = await api.names("/v1/markets?limit=1000")
    stop = asyncio.Event()

    async def write() -> None:
        async with database.connect() as connection:
            number = 0
            while not stop.is_set():
                number += 1
                for letter in "AZ":
                    await insert(
                        connection,
                        "markets",
                        ticker=f"KX{letter}{number}",
                        event_ticker="KXOLD-25",
                        series_ticker="KXOLD",
                    )
                await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    found, cursor = [], ""
    while cursor is not None and len(found) < 10_000:
        document = await api.ok(f"/v1/markets?limit=2{cursor and f'&cursor={cursor}'}")
        found += [row["ticker"] for row in document["markets"]]
        cursor = document["cursor"]
        if len(found) > 40:
            stop.set()
    stop.set()
    await writer
    assert len(found) == len(set(found))
    assert set(before) <= set(found)


async def test_what_is_asked_for_is_read_once_unless_it_depends_on_the_time(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def reading(query: Any, now: datetime) -> Parameters:
        read.append("&".join(query))
        return Parameters(query, now)

    monkeypatch.setattr("ssmd_api.asked.Parameters", reading)
    asked.remembered.clear()
    for query in ("limit=7", "closing_before=24h", "as_of=-0s", "limit=x"):
        first, again = [await api.get(f"/v1/markets?{query}") for _ in range(2)]
        assert first.status == again.status
    for other in ("events", "series"):
        assert (await api.get(f"/v1/{other}?limit=7")).status == 200
    names = ["limit", *["closing_before"] * 2, *["as_of"] * 2, *["limit"] * 2, *["limit"] * 2]
    assert read == names
    monkeypatch.setattr("ssmd_api.asked.MOST", 5)
    for number in range(1, 9):
        await api.ok(f"/v1/series?limit={number}")
    assert 0 < len(asked.remembered) <= 5


def test_the_next_page_is_asked_for_as_this_one_was() -> None:
    changed = {"cursor": "a=b", "as_of": "2026-02-03T22:05:00Z"}
    for query in ("limit=1&q=a%26b", "%63ursor=x&limit=1&q=a%26b&as_of=-1s&cursor="):
        following = replies._with(f"/v1/markets?{query}", changed)
        assert following == ("/v1/markets?limit=1&q=a%26b&cursor=a%3Db&as_of=2026-02-03T22:05:00Z")


async def test_limits(api: Client) -> None:
    assert len(await api.names("/v1/markets?limit=1")) == 1
    for limit in ("0", "1001", "-1", "1.5", "x", "", "١"):
        reply = await api.get(f"/v1/markets?limit={limit}")
        assert reply.status == 400
        assert [fault["parameter"] for fault in reply.json["errors"]] == ["limit"]
