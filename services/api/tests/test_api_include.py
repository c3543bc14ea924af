"""What `include=` costs, refuses and says; test_api_include_oracle has what it brings."""

from typing import Any

import pytest
from api_testbed import Client, Serve
from api_universe import NOW, insert

from ssmd_api import includes, shapes
from ssmd_stack.database import Database

TICKER = "KXBTCD-26FEB03-T97500.99"
EVENT = "KXBTCD-26FEB03"

pytestmark = pytest.mark.usefixtures("universe")


async def many(database: Database, **markets: int) -> None:
    """Events with so many markets."""
    async with database.connect() as connection:
        for event, count in markets.items():
            await insert(connection, "events", event_ticker=event, series_ticker="KXOLD")
            await connection.execute(
                "INSERT INTO markets (ticker, event_ticker, series_ticker, title)"
                " SELECT %(event)s || '-' || n, %(event)s, 'KXOLD', repeat('x', 1000)"
                " FROM generate_series(1, %(count)s) n",
                {"event": event, "count": count},
            )


async def pages(api: Client, path: str) -> list[Any]:
    found, following = [], path
    while following:
        reply = await api.get(following)
        assert reply.status == 200, reply.json
        found.append(reply.json)
        link = reply.headers.get("Link", "")
        assert bool(link) is bool(reply.json["cursor"])
        following = link.partition(">")[0][1:]
    return found


async def test_a_page_ends_where_its_markets_are_many(api: Client, database: Database) -> None:
    """No event comes with fewer markets than it has: the page has fewer events."""
    await many(database, X1=300, X2=699, X3=1, X4=2000, X5=0, X6=5)
    whole = await pages(api, "/v1/events?limit=1000&include=markets&series=KXOLD")
    shown = [[event["event_ticker"] for event in page["events"]] for page in whole]
    # KXOLD-25 has one market: with X3's there are 1,001 of them.
    assert shown == [["KXOLD-25", "X1", "X2"], ["X3", "X4"], ["X5", "X6"]]
    for page in whole:
        for event in page["events"]:
            assert len(event["markets"]) == event["market_count"]
    assert includes.MOST_MARKETS == 1000
    by_strike = await pages(
        api,
        "/v1/events?sort=-strike_date&limit=2&include=markets&fields=event_ticker,markets.title",
    )
    listed = await api.names("/v1/events?sort=-strike_date", "events")
    assert [event["event_ticker"] for page in by_strike for event in page["events"]] == listed
    exported = await api.get("/v1/export?entity=events&include=markets&event=X4")
    (line,) = exported.body.splitlines()
    assert line.count(b'"ticker":"X4-') == 2000


async def test_one_query_does_whatever_comes_along(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.ok("/v1/markets")  # Freshness is known now.
    asked: list[str] = []

    def counting(name: str) -> Any:
        real = getattr(api.context.database, name)

        def counted(*given: Any, **options: Any) -> Any:
            asked.append(name)
            return real(*given, **options)

        return counted

    for name in ("cursor", "result"):
        monkeypatch.setattr(api.context.database, name, counting(name))
    for path, shape in (("events", shapes.EVENTS), ("markets", shapes.MARKETS)):
        asked.clear()
        await api.ok(f"/v1/{path}?include={','.join(shape.includes)}")
        assert asked == ["result"], path


async def test_what_is_no_include_here_is_refused_and_the_nearest_named(api: Client) -> None:
    for path, nearest in (
        ("/v1/markets?include=evnt", "'event'"),
        ("/v1/markets?include=event,markets", "markets"),
        ("/v1/events?include=market", "'markets'"),
        (f"/v1/events/{EVENT}?include=lifecycles", "'fees'"),
        ("/v1/series?include=markets", "'fees'"),
        ("/v1/export?entity=series&include=event", "'fees'"),
    ):
        reply = await api.get(path)
        assert reply.status == 400, path
        (error,) = reply.json["errors"]
        assert error["parameter"] == "include"
        assert nearest in error["detail"], error
        assert "known: " in error["detail"]
    reply = await api.get("/v1/events?fields=event_ticker,markets.ticker")
    assert "include=markets" in reply.json["detail"]
    for left_out in ("fields=event_ticker", "exclude=markets"):
        reply = await api.get(f"/v1/events?include=markets&{left_out}")
        assert reply.status == 400
        assert f"left out by {left_out.partition('=')[0]}" in reply.json["detail"]
    assert (await api.get(f"/v1/markets/{TICKER}/lifecycle?include=event")).status == 400


async def test_without_it_rows_are_what_they_were(api: Client) -> None:
    (market, *_) = (await api.ok("/v1/markets"))["markets"]
    assert list(market) == [*shapes.MARKETS.table.names, "event", "series"]
    assert list(market["event"]) == list(shapes.MARKETS.members["event"].names)  # type: ignore[union-attr]
    (event, *_) = (await api.ok("/v1/events"))["events"]
    assert "markets" not in event
    (more, *_) = (await api.ok("/v1/markets?include=event"))["markets"]
    assert "extra" in more["event"]
    assert "extra" not in more["series"]


async def test_what_comes_along_changes_the_tag(api: Client, database: Database) -> None:
    path = "/v1/events?include=markets,fees"
    first = await api.get(path)
    tag = {"If-None-Match": first.headers["ETag"]}
    assert (await api.get(path, headers=tag)).status == 304
    async with database.connect() as connection:
        await connection.execute("UPDATE markets SET title = 'new' WHERE ticker = %s", (TICKER,))
    again = await api.get(path, headers=tag)
    assert again.status == 200
    assert (await api.get("/v1/events", headers=tag)).status == 200


async def test_the_age_is_that_of_the_markets_that_come_along(
    serve: Serve, database: Database
) -> None:
    """As of a list of the same markets, also where runs say which they did not read."""
    async with serve() as api:
        listed = await api.get("/v1/markets?event=" + EVENT)
        found = await api.get(f"/v1/events?event={EVENT}&include=markets")
        assert abs(int(found.headers["X-Ssmd-Age"]) - int(listed.headers["X-Ssmd-Age"])) <= 1
        assert "X-Ssmd-Age" not in (await api.get(f"/v1/events?event={EVENT}")).headers
    async with database.connect() as connection:
        for scope, unread in (({"mode": "full", "tags": ["BTC"]}, [TICKER]), ({}, [])):
            await insert(
                connection,
                "sync_runs",
                job=f"j{unread}",
                scope=scope,
                outcome="ok",
                started_at=NOW,
                finished_at=NOW,
                unread=unread,
            )
        async with serve() as api:
            for more in ("", "&fields=event_ticker,markets.ticker"):
                listed = await api.get("/v1/markets?event=" + EVENT)
                found = await api.get(f"/v1/events?event={EVENT}&include=markets{more}")
                ages = [int(each.headers["X-Ssmd-Age"]) for each in (found, listed)]
                assert abs(ages[0] - ages[1]) <= 1
