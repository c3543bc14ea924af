"""As of a moment: the API answers from what the database knew then."""

import asyncio
import csv
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from api_testbed import Client, Serve
from api_universe import fill, fill_more
from least_rights import roles
from psycopg import AsyncConnection

from ssmd_stack.database import Database

TICKER = "KXBTCD-26FEB03-T97500.99"
EVENT = "KXBTCD-26FEB03"
GAME = "KXNBAGAME-26FEB03HOUPIT"

CHANGES = (
    (
        "UPDATE markets SET status = 'settled', result = 'yes', title = 'Over'"
        f" WHERE ticker = '{TICKER}'"
    ),
    f"UPDATE markets SET deleted_at = now() WHERE ticker = '{GAME}-HOU'",
    "UPDATE markets SET deleted_at = NULL WHERE ticker = 'KXBTCD-26FEB03-GONE'",
    f"DELETE FROM markets WHERE ticker = '{GAME}-PIT'",
    f"UPDATE markets SET close_time = close_time + interval '10 d' WHERE event_ticker = '{EVENT}'",
    (
        "UPDATE events SET status = 'settled', category = 'Financials', title = 'Over'"
        f" WHERE event_ticker = '{EVENT}'"
    ),
    (
        "UPDATE series SET category = 'World', tags = '{}', is_game = NOT is_game,"
        " active = NOT active, title = 'Other'"
    ),
    "UPDATE series_fees SET fee_multiplier = 2",
    "UPDATE fees SET taker_fee = taker_fee * 2",
    (
        "INSERT INTO markets (ticker, event_ticker, series_ticker, status)"
        " VALUES ('KXOLD-25-NEW', 'KXOLD-25', 'KXOLD', 'active')"
    ),
    "UPDATE series SET ticker = 'KXRENAMED' WHERE ticker = 'KXOLD'",
)


@dataclass
class Past:
    api: Client
    connection: AsyncConnection[Any]
    at: str
    """A moment before everything changed."""
    began: datetime

    def then(self, path: str) -> str:
        return f"{path}{'&' if '?' in path else '?'}as_of={self.at}"

    async def now(self) -> str:
        """The database's time, as a parameter."""
        [(at,)] = await (await self.connection.execute("SELECT clock_timestamp()")).fetchall()
        return str(at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


@pytest_asyncio.fixture
async def past(serve: Serve, database: Database) -> AsyncIterator[Past]:
    """The universe with all that is known of it changed since; what the API said before."""
    async with database.connect() as connection, serve() as api:
        await connection.execute("SELECT history.notice()")
        began = datetime.now(UTC)
        await fill(connection)
        await fill_more(connection, TICKER)
        yield Past(api, connection, "", began)


async def change(past: Past) -> None:
    past.at = await past.now()
    for statement in CHANGES:
        await past.connection.execute(statement)


LISTS = (
    *("/v1/series", "/v1/events", "/v1/markets"),
    *("/v1/series?category=Crypto", "/v1/series?tag=BTC", "/v1/series?is_game=true"),
    *("/v1/series?active=false", "/v1/series?q=bitcoin", "/v1/series?sort=-ticker&limit=2"),
    *("/v1/events?category=Crypto", "/v1/events?category=Politics", "/v1/events?status=open"),
    *("/v1/events?series=KXOLD", "/v1/events?tag=Basketball", "/v1/events?games_only=true"),
    *("/v1/events?closing_before=1d", "/v1/events?closing_after=3h", "/v1/events?q=what%20of"),
    *("/v1/events?sort=-strike_date", "/v1/events?sort=strike_date&limit=2"),
    *("/v1/markets?category=Crypto", "/v1/markets?status=active", "/v1/markets?status=settled"),
    *("/v1/markets?series=KXOLD", f"/v1/markets?event={GAME}", "/v1/markets?tag=Basketball"),
    *("/v1/markets?games_only=true", "/v1/markets?closing_before=1d", "/v1/markets?q=win"),
    *("/v1/markets?closing_after=0s&sort=close_time&limit=3", "/v1/markets?sort=-close_time"),
    *("/v1/markets?limit=3", "/v1/markets?sort=-ticker&limit=2", "/v1/markets?status=open"),
    *("/v1/markets?fields=ticker,event.title,series.tags", "/v1/events?exclude=market_count"),
)
SINGLE = (
    *("/v1/series/KXBTCD", "/v1/series/KXOLD", f"/v1/events/{EVENT}", f"/v1/events/{GAME}"),
    *(f"/v1/markets/{TICKER}", f"/v1/markets/{GAME}-PIT", f"/v1/markets/{GAME}-HOU"),
    *("/v1/markets/KXBTCD-26FEB03-GONE", "/v1/fees", "/v1/fees?tier=default"),
)
STATS = ("/v1/stats/series", "/v1/stats/markets", "/v1/stats/markets?series=KXOLD&limit=1")
EXPORTS = (
    *("/v1/export", "/v1/export?entity=series", "/v1/export?entity=events&status=open"),
    *("/v1/export?entity=markets&status=active&format=csv", "/v1/export?category=Crypto"),
)


def without_market_data(value: Any) -> Any:
    """What is recorded of a reply."""
    if isinstance(value, list):
        return [without_market_data(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: None
        if name in MARKET_DATA and not isinstance(of, list | dict)
        else without_market_data(of)
        for name, of in value.items()
        # A cursor is of this very list.
        if name not in ("cursor", "counted_at")
    }


def recorded(path: str, body: bytes) -> list[Any]:
    """What is recorded of an export."""
    if "csv" not in path:
        return [without_market_data(json.loads(line)) for line in body.splitlines()]
    return [
        {name: text for name, text in row.items() if name.rpartition(".")[2] not in MARKET_DATA}
        for row in csv.DictReader(body.decode().splitlines(keepends=True))
    ]


MARKET_DATA = {
    *("volume", "exchange_updated_at", "updated_at", "observed_at", "observed_via"),
    *(
        f"{side}_{what}"
        for side in ("yes", "no")
        for what in ("bid", "ask", "bid_dollars", "ask_dollars")
    ),
    *("last_price", "last_price_dollars", "volume_24h", "open_interest", "volume_fp"),
    *("volume_24h_fp", "open_interest_fp"),
}


async def test_each_read_answers_as_it_did_then(past: Past) -> None:
    asked = (*LISTS, *SINGLE, *STATS)
    before = {path: await past.api.ok(path) for path in asked}
    exported = {path: (await past.api.get(path)).body for path in EXPORTS}
    lookup = {"tickers": [TICKER, f"{GAME}-PIT", f"{GAME}-HOU", "KXOLD-25-NEW"]}
    looked_up = await past.api.ask("POST", "/v1/markets/lookup", json=lookup)
    await change(past)
    moment = datetime.fromisoformat(past.at)
    for path in asked:
        reply = await past.api.get(past.then(path))
        assert reply.status == 200, (path, reply)
        assert without_market_data(reply.json) == without_market_data(before[path]), path
        assert datetime.fromisoformat(reply.headers["X-Ssmd-As-Of"]) == moment
        if path in STATS:
            assert datetime.fromisoformat(reply.json["counted_at"]) == moment
        assert "X-Ssmd-Age" not in reply.headers
        assert reply.headers["X-Ssmd-Source"] == "database"
    for path, body in exported.items():
        reply = await past.api.get(past.then(path))
        assert reply.headers["X-Ssmd-As-Of"]
        assert recorded(path, reply.body) == recorded(path, body), path
    reply = await past.api.ask("POST", past.then("/v1/markets/lookup"), json=lookup)
    assert without_market_data(reply.json) == without_market_data(looked_up.json)
    assert await past.api.ok("/v1/markets") != before["/v1/markets"]


async def test_market_data_are_null_and_the_reply_says_so(past: Past) -> None:
    await change(past)
    reply = await past.api.get(past.then(f"/v1/markets/{TICKER}?exclude=series"))
    said = set(reply.headers["X-Ssmd-Not-Recorded"].split(", "))
    assert {"yes_bid", "volume", "observed_via", "event.updated_at"} <= said
    assert said == {
        *(name for name in reply.json if name in MARKET_DATA),
        *(f"event.{name}" for name in reply.json["event"] if name in MARKET_DATA),
    }
    assert reply.json["floor_strike"] == "97500.990"
    for name in said:
        row = reply.json["event"] if "." in name else reply.json
        assert row[name.removeprefix("event.")] is None, name
    reply = await past.api.get(past.then("/v1/markets?fields=ticker"))
    assert "X-Ssmd-Not-Recorded" not in reply.headers


async def test_pages_go_on_as_of_the_same_moment(past: Past) -> None:
    wanted = await past.api.names("/v1/markets")
    await change(past)
    found, path = [], "/v1/markets?limit=2&as_of=" + past.at
    while path:
        reply = await past.api.get(path)
        found += [row["ticker"] for row in reply.json["markets"]]
        path = reply.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert found == wanted
    # Where it says how long ago, what follows is of the same moment.
    reply = await past.api.get("/v1/markets?limit=2&as_of=-0s")
    assert f"as_of={reply.headers['X-Ssmd-As-Of'][:19]}" in reply.headers["Link"]


async def test_a_snapshot_as_of_a_moment(past: Past) -> None:
    before = {path: await past.api.ok(path) for path in ("/v1/series", "/v1/events")}
    await change(past)
    reply = await past.api.get(past.then("/v1/snapshot"))
    head, *lines, end = map(json.loads, reply.body.splitlines())
    assert head["tables"] == ["series", "events", "markets", "series_fees", "fees"]
    assert datetime.fromisoformat(head["as_of"]) == datetime.fromisoformat(past.at)
    assert "yes_bid" in head["not_recorded"]["markets"]
    assert not {"sequence", "snapshot"} & head.keys()
    assert end == {"end": True, "rows": len(lines)}
    for table in ("series", "events"):
        told = {
            line["data"].get("event_ticker") or line["data"]["ticker"]: without_market_data(
                line["data"]
            )
            for line in lines
            if line["table"] == table
        }
        rows = before[f"/v1/{table}"][table]
        assert told == {
            row.get("event_ticker") or row["ticker"]: without_market_data(
                {name: value for name, value in row.items() if name != "market_count"}
            )
            for row in rows
        }
    markets = [line["data"]["ticker"] for line in lines if line["table"] == "markets"]
    # Deleted ones, too.
    assert "KXBTCD-26FEB03-GONE" in markets
    assert f"{GAME}-PIT" in markets


async def test_a_fee_by_what_was_known_then(past: Past) -> None:
    path = "/v1/fees/KXBTCD?price=0.5&count=100"
    before = await past.api.ok(path)
    await change(past)
    assert (await past.api.ok(path))["fee"] != before["fee"]
    assert await past.api.ok(f"{path}&known_at={past.at}") == before
    # In force then and known then are two questions.
    reply = await past.api.ok(f"/v1/fees/KXBTCD?known_at={past.at}&as_of=2020-01-01")
    assert reply["in_force"] is None
    assert reply["schedule"]


REFUSED = (
    ("/v1/markets?as_of=2100-01-01", "as_of", "in the future"),
    ("/v1/markets?as_of=24h", "as_of", "how long ago, such as -24h"),
    ("/v1/markets?as_of=yesterday", "as_of", "must be a time such as"),
    ("/v1/markets?as_of=2026-02-30", "as_of", "must be a time such as"),
    ("/v1/markets?as_of=-0s&as_of=-1s", "as_of", "more than once"),
    ("/v1/markets?as_of=-0s&sort=-volume", "sort", "volume, which is not recorded"),
    ("/v1/markets?as_of=-0s&sort=open_interest", "sort", "open_interest, which is not recorded"),
    ("/v1/series?as_of=-0s&sort=volume", "sort", "volume, which is not recorded"),
    ("/v1/markets?as_of=-0s&min_volume=1", "min_volume", "volume, which is not recorded"),
    ("/v1/export?as_of=-0s&min_volume=1", "min_volume", "volume, which is not recorded"),
    ("/v1/changes?as_of=-1h", "as_of", "makes no sense of changes"),
    (f"/v1/markets/{TICKER}/lifecycle?as_of=-1h", "as_of", "makes no sense of messages"),
    (f"/v1/markets/{TICKER}/history?as_of=-1h", "as_of", "makes no sense of versions"),
    ("/v1/search?q=win&as_of=-1h", "as_of", "is not for searches"),
    ("/v1/stats/sync?as_of=-1h", "as_of", "makes no sense of runs"),
    ("/v1/status?as_of=-1h", "as_of", "unknown"),
    ("/v1/snapshot?tables=markets,market_lifecycle_events&as_of=-0s", "tables", "is not recorded"),
    ("/v1/fees/KXBTCD?known_at=2100-01-01", "known_at", "in the future"),
)
BEFORE = (
    *("/v1/series", "/v1/events", "/v1/markets", "/v1/fees", "/v1/stats/markets", "/v1/export"),
    *("/v1/stats/series", "/v1/snapshot", "/v1/markets/NONE", "/v1/events/NONE", "/v1/series/NONE"),
    *("/v1/markets?series=NONE", "/v1/markets?sort=close_time"),
)


async def test_what_cannot_be_asked_is_refused_with_the_reason(past: Past) -> None:
    for path, parameter, why in REFUSED:
        reply = await past.api.get(path)
        assert reply.status == 400, (path, reply)
        assert any(
            each["parameter"] == parameter and why in each["detail"]
            for each in reply.json["errors"]
        ), (path, reply.json)
    begins = (await past.api.ok(f"/v1/markets/{TICKER}/history"))["record_begins"]
    long_ago = (past.began - timedelta(days=400)).strftime("%Y-%m-%d")
    for path in BEFORE:
        # Also where there would be nothing to tell: never what is now.
        reply = await past.api.get(f"{path}{'&' if '?' in path else '?'}as_of={long_ago}")
        assert reply.status == 400, path
        [error] = reply.json["errors"]
        assert error["parameter"] == "as_of"
        assert error["detail"].endswith(f"the record begins at {begins}"), error
    reply = await past.api.ask(
        "POST", f"/v1/markets/lookup?as_of={long_ago}", json={"tickers": [TICKER]}
    )
    assert reply.status == 400
    reply = await past.api.get(f"/v1/fees/KXBTCD?known_at={long_ago}")
    assert reply.json["errors"][0]["parameter"] == "known_at"


_RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"
RESTORED = (
    f"as of {_RFC3339} is not known: the database was restored or copied between {_RFC3339} and"
    f" (now|{_RFC3339})$"
)


async def test_what_a_restored_database_missed_is_unknown(past: Past) -> None:
    """As if it had been restored: what its identity was is another's."""
    await change(past)
    await past.connection.execute("UPDATE history.spans SET identity = 'another'")
    # Between the last commit before and the first after it.
    await asyncio.sleep(0.01)
    between = await past.now()
    await asyncio.sleep(0.01)
    for _ in range(2):
        reply = await past.api.get(f"/v1/markets?as_of={between}")
        assert reply.status == 400
        assert re.search(RESTORED, reply.json["detail"]), reply.json["detail"]
        await past.connection.execute("SELECT history.notice()")
    assert await past.api.names(past.then("/v1/markets?limit=1"))
    assert await past.api.names("/v1/markets?limit=1&as_of=-0s")


async def test_history_of_a_row(past: Past) -> None:
    await change(past)
    document = await past.api.ok(f"/v1/markets/{TICKER}/history")
    assert [each["kind"] for each in document["history"]] == [
        "changed",
        "changed",
        "changed",
        "changed",
        "added",
    ]
    renamed, moved, settled, filled, added = document["history"]
    assert renamed["changes"] == {"category": {"old": "Crypto", "new": "Financials"}}
    assert list(moved["changes"]) == ["close_time"]
    assert settled["changes"] == {
        "title": {"old": f"Will {TICKER} win?", "new": "Over"},
        "status": {"old": "active", "new": "settled"},
        "result": {"old": None, "new": "yes"},
    }
    assert settled["data"]["status"] == "settled"
    assert settled["before"] is None
    assert filled["changes"]["floor_strike"] == {"old": None, "new": "97500.990"}
    assert added["changes"] == {}
    assert added["data"]["floor_strike"] is None
    assert not MARKET_DATA & added["data"].keys()
    assert added["at"] < filled["at"] < settled["at"] < moved["at"] < renamed["at"]
    # The row as it is, but for what is not recorded.
    row = await past.api.ok(f"/v1/markets/{TICKER}")
    assert renamed["data"] == {name: row[name] for name in renamed["data"]}

    [removed, added] = (await past.api.ok(f"/v1/markets/{GAME}-PIT/history"))["history"]
    assert (removed["kind"], removed["data"]) == ("removed", None)
    assert removed["before"] == added["data"]
    [only] = (await past.api.ok("/v1/series/KXRENAMED/history"))["history"]
    assert only["kind"] == "added"
    assert [
        each["kind"] for each in (await past.api.ok("/v1/series/KXOLD/history"))["history"]
    ] == ["removed", "changed", "added"]
    assert (await past.api.ok(f"/v1/events/{EVENT}/history"))["event_ticker"] == EVENT
    for path in ("markets", "events", "series"):
        assert (await past.api.get(f"/v1/{path}/NONE/history")).status == 404


async def test_history_in_pages_is_the_same(past: Past) -> None:
    """Also where a row went and came again; pages do not depend on what comes meanwhile."""
    await change(past)
    for statement in (
        f"DELETE FROM markets WHERE ticker = '{TICKER}'",
        (
            "INSERT INTO markets (ticker, event_ticker, series_ticker)"
            f" VALUES ('{TICKER}', '{EVENT}', 'KXBTCD')"
        ),
        f"UPDATE markets SET title = 'Again' WHERE ticker = '{TICKER}'",
    ):
        await past.connection.execute(statement)
    path = f"/v1/markets/{TICKER}/history"
    whole = (await past.api.ok(path))["history"]
    assert [each["kind"] for each in whole[:3]] == ["changed", "added", "removed"]
    assert whole[2]["before"] == whole[3]["data"]
    found, following = [], f"{path}?limit=2"
    while following:
        reply = await past.api.get(following)
        found += reply.json["history"]
        following = reply.headers.get("Link", "").partition(">")[0].removeprefix("<")
        await past.connection.execute(
            f"UPDATE markets SET title = title || '.' WHERE ticker = '{TICKER}'"
        )
    assert found == whole
    reply = await past.api.get(
        f"/v1/markets/{GAME}-PIT/history?cursor={await cursor_of(past, path)}"
    )
    assert "belongs to another market" in reply.json["detail"]


async def cursor_of(past: Past, path: str) -> str:
    return str((await past.api.ok(f"{path}?limit=1"))["cursor"])


async def test_the_apis_own_role_may_ask(serve: Serve, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("SELECT history.notice()")
        await fill(connection)
        await connection.execute("UPDATE markets SET title = 'changed'")
    async with roles(database) as made, serve(database_url=made.url("api")) as api:
        for path in (
            *(f"/v1/{what}?as_of=-0s" for what in ("series", "events", "markets", "fees")),
            *(f"/v1/{what}?as_of=-0s" for what in ("snapshot", "export", "stats/markets")),
            *("/v1/fees/KXBTCD?known_at=-0s", f"/v1/markets/{TICKER}/history"),
            *(f"/v1/events/{EVENT}/history", "/v1/series/KXBTCD/history"),
        ):
            reply = await api.get(path)
            assert reply.status == 200, (path, reply)


SHOWN = re.findall(
    r'"\$SSMD_API_URL(/v1/\S*(?:as_of|known_at|/history)\S*)"',
    (Path(__file__).parents[3] / "docs/api.md").read_text(),
)


async def test_what_the_documentation_shows_can_be_asked(past: Past) -> None:
    assert len(SHOWN) >= 4
    await past.connection.execute("INSERT INTO series (ticker) VALUES ('KXBTC15M')")
    for path in SHOWN:
        # The record is not a second old yet.
        shown = path.replace("$TICKER", TICKER).replace("-1s", "-0s")
        assert (await past.api.get(shown)).status == 200, shown
