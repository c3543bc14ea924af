"""Pages over HTTP: whole without JavaScript, and when something is amiss."""

import csv
import io
import re
from datetime import timedelta

import pytest
from api_stream import listening, publish, take
from api_testbed import Client, Serve
from api_universe import NOW, fill, insert
from nats.js.client import JetStreamContext
from ui_pages import EVIL, MARKET, PATHS, fill_with_attacks, fill_work, shown, words

from ssmd_api.ui import spreadsheet
from ssmd_stack.database import Database
from ssmd_stack.proxy import TcpProxy


@pytest.fixture
async def evil(database: Database) -> None:
    await fill_with_attacks(database)


@pytest.mark.usefixtures("evil")
async def test_texts_of_others_are_texts(
    streaming: Client, database: Database, js: JetStreamContext
) -> None:
    row = {"ticker": MARKET, "event_ticker": "E", "series_ticker": "S", "title": EVIL}
    changes = {"title": {"old": EVIL, "new": f"{EVIL}!"}}
    await publish(js, "markets", row, "market_updated", changes=changes)
    await fill_work(database)
    async with database.connect() as connection:
        await connection.execute("UPDATE api_keys SET name = %s", [EVIL])
    for name, path in PATHS.items():
        reply = await shown(streaming, path)
        assert reply.status == 200, (name, reply.text)
        assert "<img src=x" not in reply.text, name
        assert "<script>alert" not in reply.text, name
        assert 'href="javascript:' not in reply.text, name
        if name not in ("now", "search"):
            assert "&lt;img src=x onerror=alert(1)&gt;" in reply.text, name
            assert "{{7*7}}" in reply.text, name


@pytest.mark.usefixtures("universe")
async def test_pages_say_what_the_api_knows(
    streaming: Client, database: Database, js: JetStreamContext
) -> None:
    changes = {"yes_bid_dollars": {"old": "0.450000", "new": "0.455000"}}
    row = {"ticker": MARKET, "event_ticker": "E", "series_ticker": "S"}
    await publish(js, "markets", row, "market_updated", changes=changes)
    said = {name: words((await shown(streaming, path)).text) for name, path in PATHS.items()}
    assert "7 markets" in said["now"]
    assert "sync has never said" not in said["now"]
    assert f"Will {MARKET} win?" in said["market"]
    assert "quotes &#34; and \\ and newlines, ünïcode" in said["market"]
    assert "$1" in said["market"] or "taker" in said["market"]
    assert "3 markets" in said["event"]
    assert "Bitcoin price" in said["series"]
    assert "1 active markets" in said["one-series"]
    assert "What of KXBTCD-26FEB03? open 3" in said["one-series"]
    # What the exchange leaves out of a row is no fault of the page.
    async with database.connect() as connection:
        await connection.execute(
            """UPDATE markets SET extra = '{"a": 1}', price_ranges = '[{"start": "0"}, 1]'"""
        )
    for name in ("market", "event"):
        assert (await shown(streaming, PATHS[name])).status == 200
    assert "yes bid 45 → 45 .5" in said["changes"]
    assert "in its ticker or title" not in said["search"]


@pytest.mark.usefixtures("universe")
async def test_now_tells_what_there_is_and_how_it_is(api: Client, database: Database) -> None:
    await fill_work(database)
    async with database.connect() as connection:
        run = {"job": "fees", "outcome": "running", "scope": {}, "started_at": NOW}
        await insert(connection, "sync_runs", **run)
    page = (await shown(api, "/ui")).text
    said = words(page)
    for part in (
        "7 markets 3 active",
        "Crypto 1 1 1 –",
        "close in 1 h",
        "service state lag work/s last word sync",
        "everything partial",
        "fees running began",
        "1 rejected",
        "disconnected",
        "Counted",
    ):
        assert part in said, part


@pytest.mark.usefixtures("universe")
async def test_the_list_has_the_filters_of_the_api(api: Client) -> None:
    for query, expected in (
        ("q=hou", 2),
        ("q=&category=&status=&series=KXBTCD", 4),
        ("status=active", 3),
        ("closing=6h", 3),
        ("min_volume=50", 2),
        ("tag=Basketball", 2),
        ("event=KXBTCD-26FEB03&status=closed", 1),
        ("q=nothing-like-it", 0),
    ):
        page = (await shown(api, f"/ui/markets?{query}")).text
        assert page.count('<tr id="m-') == expected, query
    first = (await shown(api, "/ui/markets?limit=2&sort=-volume")).text
    assert first.index("T90000") < first.index(MARKET)
    following = first.split('rel="next"')[0].rpartition('href="')[2].split('"')[0]
    second = (await shown(api, following.replace("&amp;", "&"))).text
    assert second.count('<tr id="m-') == 2
    assert "T90000" not in words(second)


@pytest.mark.usefixtures("universe")
async def test_columns_and_the_unit_are_chosen(api: Client) -> None:
    path = "/ui/markets?series=KXBTCD&fields=ticker&fields=yes_bid_dollars&fields=event.title"
    page = words((await shown(api, path)).text)
    assert "What of KXBTCD-26FEB03?" in page
    assert "open int." not in page.split("Save as CSV")[1]
    assert "45" in page
    reply = await shown(api, f"{path}&unit=dollars")
    assert "0.45" in words(reply.text)
    assert "ssmd_ui_unit=dollars" in reply.headers["Set-Cookie"]
    kept = await shown(api, path, cookies={"ssmd_ui_key": api.key, "ssmd_ui_unit": "dollars"})
    assert "0.45" in words(kept.text)


@pytest.mark.usefixtures("universe")
async def test_a_page_turns_into_a_moment(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("SELECT pg_sleep(0.01)")
        [(then,)] = await (await connection.execute("SELECT clock_timestamp()::text")).fetchall()
        await connection.execute("UPDATE markets SET title = 'Renamed' WHERE ticker = %s", [MARKET])
    at = then.replace(" ", "T").replace("+00", "Z")
    now = (await shown(api, f"/ui/markets/{MARKET}")).text
    past = (await shown(api, f"/ui/markets/{MARKET}?as_of={at}")).text
    assert "<h1>Renamed</h1>" in now
    # What a version changed is told, and leads to its moment.
    assert f"title Will {MARKET} win? → Renamed" in words(now)
    assert f"<h1>Will {MARKET} win?</h1>" in past
    assert "This is what was known at" in words(past)
    # What is of the past follows nothing, and leads to what was then.
    assert "data-stream" not in past
    assert "/ui/events/KXBTCD-26FEB03?as_of=" in past
    for path in (f"/ui/markets?as_of={at}", f"/ui/series?as_of={at}"):
        assert (await shown(api, path)).status == 200


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/ui/markets/NOTHING", 404, "No market is called &#39;NOTHING&#39;."),
        ("/ui/events/NOTHING", 404, "No event is called"),
        ("/ui/series/NOTHING", 404, "No series is called"),
        ("/ui/nowhere", 404, "No page is called &#39;/ui/nowhere&#39;."),
        ("/ui/markets?status=odd", 400, "Status: must be one of open, active, closed, settled."),
        ("/ui/markets?cursor=odd", 400, "Cursor: is not a cursor that this API gave out."),
        ("/ui/markets?odd=1", 400, "Odd: is unknown here"),
        ("/ui/markets?as_of=2000-01-01", 400, "As_of:"),
        ("/ui/markets?closing=odd", 400, "must be a time such as"),
        ("/ui/series?page=0", 400, "Page: must be a whole number"),
        ("/ui/changes?table=odd", 400, "Table: must be one of"),
    ],
)
@pytest.mark.usefixtures("universe")
async def test_what_cannot_be_shown_is_said_in_the_frame(
    api: Client, path: str, status: int, sentence: str
) -> None:
    reply = await shown(api, path)
    assert reply.status == status
    assert sentence in reply.text
    assert 'href="/ui/changes"' in reply.text
    assert reply.headers["Content-Type"].startswith("text/html")


async def test_an_empty_system_says_so(api: Client) -> None:
    for path in ("/ui", "/ui/markets", "/ui/series"):
        assert "No data yet" in (await shown(api, path)).text


@pytest.mark.usefixtures("universe")
async def test_a_market_that_is_gone_says_so(api: Client) -> None:
    page = words((await shown(api, "/ui/markets/KXBTCD-26FEB03-GONE")).text)
    assert "The exchange does not know this market any more" in page


async def test_each_server_that_is_away_is_told_of(serve: Serve, database: Database) -> None:
    async with database.connect() as connection:
        await fill(connection)
    async with (
        TcpProxy(database.url) as proxy,
        serve(
            database_url=proxy.url, api_statement_timeout_seconds=1, nats_url="nats://127.0.0.1:1"
        ) as api,
    ):
        await api.context.cached.ping()
        assert "does not reach Redis" in (await shown(api, "/ui")).text
        changes = await shown(api, "/ui/changes")
        assert changes.status == 503
        assert "The change stream cannot be read" in changes.text
        assert (await shown(api, "/ui/markets")).status == 200
        proxy.freeze()
        away = await shown(api, "/ui/markets?q=anything")
        assert away.status == 503
        assert "PostgreSQL cannot be reached" in away.text or "too long" in away.text
        assert 'href="/ui/changes"' in away.text
        proxy.thaw()


@pytest.mark.usefixtures("universe")
async def test_a_file_for_spreadsheets_runs_nothing(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE markets SET title = '=HYPERLINK(\"http://x.test\")' WHERE ticker = %s", [MARKET]
        )
    path = "/ui/markets.csv?series=KXBTCD&fields=ticker,title,yes_bid_dollars"
    reply = await shown(api, path)
    assert 'filename="markets.csv"' in reply.headers["Content-Disposition"]
    rows = {row["ticker"]: row for row in csv.DictReader(io.StringIO(reply.text))}
    assert len(rows) == 4
    assert rows[MARKET]["title"].startswith("'=HYPERLINK")
    assert rows[MARKET]["yes_bid_dollars"] == "0.450000"
    # In the order of the page, and with its columns in theirs.
    for sort in ("-volume", "volume", "-ticker"):
        query = f"sort={sort}&fields=volume,ticker"
        saved = (await shown(api, f"/ui/markets.csv?{query}")).text.splitlines()
        assert saved[0] == "volume,ticker"
        page = (await shown(api, f"/ui/markets?{query}")).text
        assert [line.split(",")[1] for line in saved[1:]] == re.findall(r'<tr id="m-([^"]+)"', page)
        assert f"/ui/markets.csv?sort={sort}&amp;fields=volume,ticker" in page
    assert (await shown(api, "/ui/markets.csv?status=odd")).status == 400


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@x", "'@x"),
        (" +cmd|' /C calc'!A0", "' +cmd|' /C calc'!A0"),
        ("\t=1", "'\t=1"),
        ("-2+3", "'-2+3"),
        ("-0.50", "-0.50"),
        ("+7", "+7"),
        ("Will it?", "Will it?"),
        (None, ""),
        (["a"], '["a"]'),
    ],
)
def test_cells_are_no_formulas(value: object, cell: str) -> None:
    assert spreadsheet.cell(value) == cell


@pytest.mark.usefixtures("universe")
async def test_a_fee_is_computed_in_the_readers_unit(api: Client) -> None:
    for path, expected in (
        ("price=50&count=100", "taker $0.8750"),
        ("price=0.5&count=100&unit=dollars", "taker $0.8750"),
        ("price=101", "A price is from 0 to 100 cents."),
        ("price=x", "A price is from 0 to 100 cents."),
        ("price=50&count=-1", "A count is a number of contracts"),
        ("price=50&tier=odd", "There is no tier odd."),
    ):
        assert expected in words((await shown(api, f"/ui/markets/{MARKET}?{path}")).text), path


async def test_an_event_whose_markets_exclude_each_other_adds_up(
    api: Client, database: Database
) -> None:
    async with database.connect() as connection:
        await fill(connection)
        await connection.execute(
            "UPDATE events SET mutually_exclusive = true WHERE event_ticker LIKE 'KXNBA%'"
        )
        await connection.execute(
            "UPDATE markets SET yes_bid_dollars = 0.48, yes_ask_dollars = 0.515"
            " WHERE event_ticker LIKE 'KXNBA%'"
        )
    path = "/ui/events/KXNBAGAME-26FEB03HOUPIT"
    assert "costs 103 ¢ at the asks and brings 96 ¢ at the bids: one dollar is between" in (
        words((await shown(api, path)).text)
    )
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE markets SET yes_bid_dollars = 0.51 WHERE event_ticker LIKE 'KXNBA%'"
        )
    assert "the bids are above one dollar" in words((await shown(api, path)).text)


@pytest.mark.usefixtures("universe")
async def test_series_are_sorted_and_filtered(api: Client) -> None:
    for query, expected in (
        ("", ["KXBTCD", "KXNBAGAME", "KXOLD"]),
        ("sort=ticker&q=price", ["KXBTCD"]),
        ("sort=-volume", ["KXBTCD", "KXNBAGAME", "KXOLD"]),
        # What has none comes last either way.
        ("sort=volume", ["KXNBAGAME", "KXBTCD", "KXOLD"]),
        ("sort=-active", ["KXNBAGAME", "KXBTCD", "KXOLD"]),
        ("sort=settled", ["KXNBAGAME", "KXOLD", "KXBTCD"]),
        ("sort=-new", ["KXBTCD", "KXNBAGAME", "KXOLD"]),
        ("tag=Basketball", ["KXNBAGAME"]),
        ("category=Crypto", ["KXBTCD"]),
        ("active=false", ["KXOLD"]),
        ("status=settled", ["KXBTCD"]),
        ("closing=24h&min_volume=6", ["KXBTCD"]),
        ("q=nothing", []),
    ):
        page = (await shown(api, f"/ui/series?{query}")).text
        assert re.findall(r'<tr id="s-([^"]+)"', page) == expected, query
    page = (await shown(api, "/ui/series?sort=-volume&tag=Basketball")).text
    assert 'aria-sort="descending"' in page
    # Each address keeps what was asked for.
    assert 'href="/ui/series?tag=Basketball&amp;sort=volume"' in page
    assert "Crypto 1 2 1 1 1 – 2 1,000" in words(page)
    assert page.count('class="spark"') == 1
    # One of them has its events in the order of their strike dates, either way.
    for sort in ("-strike_date", "strike_date"):
        one = (await shown(api, f"/ui/series/KXBTCD?sort={sort}")).text
        events = re.findall(r'<tr id="ev-([^"]+)"', one)
        assert events == sorted(events, reverse=sort.startswith("-")), sort
        assert len(events) == 2
    assert "?sort=-strike_date" in one
    assert (await shown(api, "/ui/series?sort=-volume&as_of=-1s")).status == 400


@pytest.mark.usefixtures("universe")
async def test_an_event_has_the_messages_about_it(api: Client, database: Database) -> None:
    event = "KXBTCD-26FEB03"
    assert "first seen here" in words((await shown(api, f"/ui/events/{event}")).text)
    async with database.connect() as connection:
        for number, kind in enumerate(("event_lifecycle", "event_fee_update")):
            await insert(
                connection,
                "market_lifecycle_events",
                event_ticker=event,
                event_type=kind,
                metadata={},
                dedupe_key=str(number),
                sent_at=NOW - timedelta(minutes=9 - number),
            )
    page = words((await shown(api, f"/ui/events/{event}")).text)
    assert page.index("created told by ws") < page.index("fee changed told by ws")
    assert "first seen here" not in page


@pytest.mark.usefixtures("universe")
async def test_a_life_has_what_was_told_and_what_is_to_come(
    api: Client, database: Database
) -> None:
    async with database.connect() as connection:
        for number, (kind, source) in enumerate((("opened", "clock"), ("deactivated", None))):
            await insert(
                connection,
                "market_lifecycle_events",
                market_ticker=MARKET,
                event_type=kind,
                metadata={"source": source} if source else {},
                dedupe_key=str(number),
                sent_at=NOW - timedelta(minutes=9 - number),
            )
    page = words((await shown(api, f"/ui/markets/{MARKET}")).text)
    life = page[page.index("Life") : page.index("Versions")]
    steps = [life.index(each) for each in ("opened told by clock", "paused told by ws", "closes")]
    assert steps == sorted(steps)


@pytest.mark.usefixtures("universe")
async def test_what_was_seen_late_stands_where_it_belongs(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        for number, (kind, source, sent_at) in enumerate(
            (("settled", None, NOW - timedelta(minutes=9)), ("determined", "rest", None))
        ):
            await insert(
                connection,
                "market_lifecycle_events",
                market_ticker=MARKET,
                event_type=kind,
                metadata={"source": source, "msg": {"at": None}} if source else {},
                dedupe_key=str(number),
                sent_at=sent_at,
                received_at=NOW - timedelta(minutes=5),
            )
    page = words((await shown(api, f"/ui/markets/{MARKET}")).text)
    assert page.index("determined seen by rest") < page.index("settled told by ws")


@pytest.mark.usefixtures("universe")
async def test_changes_are_read_backwards(streaming: Client, js: JetStreamContext) -> None:
    for number in range(130):
        row = {"ticker": f"M{number % 2}", "event_ticker": "E", "series_ticker": "S"}
        changes = {"status": {"old": "open", "new": "active"}}
        await publish(js, "markets", row, "market_activated", changes=changes)
    page = (await shown(streaming, "/ui/changes")).text
    assert page.count('<tr id="n-') == 100
    assert page.index('id="n-130"') < page.index('id="n-31"')
    older = (await shown(streaming, "/ui/changes?before=31")).text
    assert older.count('<tr id="n-') == 30
    one = (await shown(streaming, "/ui/changes?market=M1&before=5")).text
    assert [n for n in range(1, 131) if f'id="n-{n}"' in one] == [2, 4]
    row = {"event_ticker": "E", "series_ticker": "S"}
    await publish(js, "events", row, "event_closed")
    await publish(js, "series", {"ticker": "S"}, "series_updated")
    several = (
        "table=events&table=series&type=event_closed&type=series_updated&type=market_activated"
    )
    page = (await shown(streaming, f"/ui/changes?{several}")).text
    assert re.findall(r'<tr id="n-(\d+)"', page) == ["132", "131"]
    assert page.count(" checked>") == 5
    assert "5 of them" not in page
    # Its stream is of the same, and so is what lies further back.
    assert f'data-stream="{several.replace("&", "&amp;")}&amp;fields=' in page
    nothing = (await shown(streaming, "/ui/changes?type=market_settled")).text
    assert "No such change" in nothing
    before_all = (await shown(streaming, "/ui/changes?until=2020-01-01T00:00:00")).text
    assert "No such change" in before_all or "0 before" in words(before_all)


async def test_what_is_still_in_memory_is_cut_like_what_is_not(
    streaming: Client, js: JetStreamContext
) -> None:
    async with listening(streaming) as events:
        for number in range(6):
            row = {"ticker": f"M{number % 2}", "event_ticker": "E", "series_ticker": "S"}
            await publish(js, "markets", row, "market_updated")
        await take(events, 6)
        page = (await shown(streaming, "/ui/changes?market=M0&before=5")).text
    assert [n for n in range(1, 7) if f'id="n-{n}"' in page] == [1, 3]
