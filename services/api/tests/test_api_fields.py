"""fields= and exclude=: sparse rows wherever rows are, read sparsely."""

import csv
import io
import json

import pytest
from api_stream import listening, publish, take
from api_testbed import Client, Serve
from nats.js.client import JetStreamContext
from test_api_cache import warm

from ssmd_api import lists, shapes
from ssmd_api.filters import MarketFilter
from ssmd_api.paging import Page
from ssmd_api.shapes import UnknownField
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.valkey import ValkeyServer

TICKER = "KXBTCD-26FEB03-T97500.99"
EVENT = "KXBTCD-26FEB03"

pytestmark = pytest.mark.usefixtures("universe")


ROWS = {
    f"/v1/markets/{TICKER}": shapes.ONE_MARKET,
    f"/v1/events/{EVENT}": shapes.ONE_EVENT,
    "/v1/series/KXBTCD": shapes.ONE_SERIES,
}
LISTS = {
    "/v1/markets?sort=-volume&": ("markets", shapes.MARKETS),
    "/v1/events?": ("events", shapes.EVENTS),
    "/v1/series?": ("series", shapes.SERIES),
}


@pytest.mark.parametrize("path", ROWS)
async def test_of_one_row_any_field_can_be_asked_for_or_left_out(api: Client, path: str) -> None:
    whole = await api.ok(path)
    for name in ROWS[path].names:
        chosen = ROWS[path].selected([name], [])
        assert await api.ok(f"{path}?fields={name}") == chosen.pick(whole), name
        left = ROWS[path].selected([], [name])
        assert await api.ok(f"{path}?exclude={name}") == left.pick(whole), name
        assert left != ROWS[path]


@pytest.mark.parametrize("path", LISTS)
async def test_of_lists_and_exports_too(api: Client, path: str) -> None:
    name, shape = LISTS[path]
    whole = (await api.get(path)).json[name]
    assert len(whole) >= 3
    for field in shape.names:
        chosen = shape.selected([field], [])
        assert (await api.ok(f"{path}fields={field}"))[name] == [*map(chosen.pick, whole)], field
        left = shape.selected([], [field])
        assert (await api.ok(f"{path}exclude={field}"))[name] == [*map(left.pick, whole)], field
    lines = (await api.get(f"/v1/export?entity={name}&exclude=title")).body.splitlines()
    left = shape.selected([], ["title"])
    by_ticker = sorted((left.pick(row) for row in whole), key=json.dumps)
    assert sorted((json.loads(line) for line in lines), key=json.dumps) == by_ticker


async def test_the_default_is_the_whole_in_its_order(api: Client) -> None:
    (listed, *_) = (await api.ok("/v1/markets"))["markets"]
    assert listed == shapes.MARKETS.pick(listed)
    assert list(listed) == [*shapes.MARKETS.table.names, "event", "series"]
    shown = await api.ok(
        f"/v1/markets/{TICKER}?fields=series.title,event,ticker&exclude=event.title"
    )
    assert list(shown) == ["ticker", "event", "series"]
    assert list(shown["series"]) == ["title"]
    assert "title" not in shown["event"]
    assert "sub_title" in shown["event"]


async def test_an_unknown_field_is_refused_and_the_nearest_named(api: Client) -> None:
    for path in (
        "/v1/markets?",
        f"/v1/markets/{TICKER}?",
        "/v1/export?",
        "/v1/changes?table=markets&",
        "/v1/snapshot?tables=markets&",
    ):
        for parameter in ("fields", "exclude"):
            reply = await api.get(f"{path}{parameter}=close_tme")
            assert reply.status == 400, path
            (error,) = reply.json["errors"]
            assert error["parameter"] == parameter
            assert "'close_time'" in error["detail"]
    reply = await api.get("/v1/markets?fields=event.titel")
    assert "'event.title'" in reply.json["detail"]
    assert (await api.get("/v1/events?fields=yes_bid")).status == 400
    assert (await api.get("/v1/markets?fields=")).status == 400
    body = {"tickers": [TICKER]}
    assert (await api.ask("POST", "/v1/markets/lookup?fields=x", json=body)).status == 400


async def test_csv_has_the_columns_that_are_left(api: Client) -> None:
    for query in ("", "&series=NONE"):
        reply = await api.get(f"/v1/export?format=csv&fields=ticker,event.title,series{query}")
        rows = list(csv.reader(io.StringIO(reply.body.decode())))
        assert rows[0][:3] == ["ticker", "event.title", "series.ticker"]
        assert all(len(row) == len(rows[0]) for row in rows)


async def test_pages_of_sparse_rows_follow_each_other(api: Client) -> None:
    """Though the cursor's column is not among them; and what is shown may change between."""
    first = await api.ok("/v1/markets?sort=-volume&limit=4&fields=title")
    rest = await api.ok(f"/v1/markets?sort=-volume&fields=ticker&cursor={first['cursor']}")
    whole = await api.names("/v1/markets?sort=-volume")
    assert [row["ticker"] for row in rest["markets"]] == whole[4:]


async def test_lookups_show_any_column_of_markets(
    cached_api: Client, database: Database, valkey_server: ValkeyServer
) -> None:
    body = {"tickers": [TICKER, "NONE"]}
    path = "/v1/markets/lookup?fields=title,yes_bid"
    replies = [await cached_api.ask("POST", path, json=body)]
    await warm(database, valkey_server.url)
    replies.append(await cached_api.ask("POST", path, json=body))
    assert replies[0].headers["X-Ssmd-Source"] == "database"
    for reply in replies:
        title = f"Will {TICKER} win?"
        assert reply.json["markets"] == [{"title": title, "yes_bid": 45}]
        assert reply.json["missing"] == ["NONE"]
    fields = ["event", "title", "event.category"]
    whole = await cached_api.ok(f"/v1/markets/{TICKER}")
    for name in ("fields", "exclude"):
        reply = await cached_api.get(f"/v1/markets/{TICKER}?{name}={','.join(fields)}")
        assert reply.headers["X-Ssmd-Source"] == "cache"
        chosen = shapes.ONE_MARKET.selected(**{"fields": [], "exclude": [], name: fields})
        assert reply.json == chosen.pick(whole)


async def test_snapshots_have_the_tables_that_have_a_field(
    serve: Serve, nats_server: NatsServer, js: JetStreamContext
) -> None:
    async with serve(nats_url=nats_server.url) as api:
        lines = (await api.get("/v1/snapshot?fields=ticker,is_game,status")).body.splitlines()
        head, *rows, end = map(json.loads, lines)
        assert head["tables"] == ["series", "events", "markets"]
        assert end["rows"] == len(rows) == 3 + 4 + 8
        of = {row["table"]: list(row["data"]) for row in rows}
        assert of == {
            "series": ["ticker", "is_game"],
            "events": ["status"],
            "markets": ["ticker", "status"],
        }
        assert (await api.get("/v1/snapshot?tables=fees&fields=ticker")).status == 400


async def test_changes_are_sent_with_the_columns_asked_for(
    streaming: Client, js: JetStreamContext
) -> None:
    row = {
        "series_ticker": "S",
        "event_ticker": "S-1",
        "ticker": "S-1-A",
        "yes_bid": 1,
        "title": "T",
    }
    from_start = "?fields=ticker,yes_bid&after=0"
    await publish(js, "fees", {"tier": "default"})
    await publish(js, "markets", row)
    async with (
        listening(streaming, from_start) as caught_up,
        listening(streaming, "?table=markets&exclude=title,series_ticker") as sparse,
        listening(streaming) as whole,
    ):
        (old,) = await take(caught_up, 1)
        assert json.loads(old["data"])["data"] == {"ticker": "S-1-A", "yes_bid": 1}
        more = {
            "changes": {"yes_bid": {"old": 1, "new": 2}, "title": {"old": "S", "new": "T"}},
            "before": {"title": "S", "ticker": "S-1-A"},
        }
        await publish(js, "markets", {**row, "yes_bid": 2}, **more)
        (few,), (all_of_it,) = await take(caught_up, 1), await take(whole, 1)
        message, complete = json.loads(few["data"]), json.loads(all_of_it["data"])
        assert message["data"] == {"ticker": "S-1-A", "yes_bid": 2}
        assert message["changes"] == {"yes_bid": {"old": 1, "new": 2}}
        assert message["before"] == {"ticker": "S-1-A"}
        rows = {"data", "changes", "before"}
        assert list(message) == list(complete)
        assert {n: v for n, v in message.items() if n not in rows} == {
            n: v for n, v in complete.items() if n not in rows
        }
        assert few["id"] == all_of_it["id"]
        (other,) = await take(sparse, 1)
        assert json.loads(other["data"])["data"] == {
            "event_ticker": "S-1",
            "ticker": "S-1-A",
            "yes_bid": 2,
        }


def test_the_query_reads_what_is_asked_for_only() -> None:
    sparse = lists.markets(
        MarketFilter(), Page("ticker", 9), shapes.MARKETS.selected(["ticker", "yes_bid"], [])
    )
    text = sparse.query.as_string()
    assert '"m"."yes_bid"' in text
    assert "events" not in text
    assert "series" not in text.replace("series_ticker", "")
    assert "rules_primary" not in text
    with_title = shapes.MARKETS.selected(["event.title"], [])
    text = lists.markets(MarketFilter(), Page("ticker", 9), with_title).query.as_string()
    assert '"e"."title"' in text
    assert "events e" in text
    assert "series s" not in text


def test_names_are_columns_and_members() -> None:
    with pytest.raises(UnknownField, match="'ticker'"):
        shapes.MARKETS.selected(["tickr"], [])
    assert shapes.MARKETS.selected([], ["event.title"]).members["event"]
    assert shapes.MARKETS.selected(["event.title"], []).names == ("event", "event.title")
