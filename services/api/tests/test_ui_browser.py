"""Pages in a browser: its policy kept, nothing thrown, live, readable by all who read.

Chromium's console and policy say what is wrong in `Page.complaints`: any of it fails a test.
"""

import asyncio
from pathlib import Path
from typing import Any

import nats
import pytest
from api_browser import Page, browse
from api_stream import publish
from api_testbed import Client, Serve
from api_universe import NOW, fill, insert
from made_market_data import Maker, make_streams
from made_market_data import publish as publish_data
from nats.js.client import JetStreamContext
from ui_pages import (
    EVIL,
    LIVE,
    MARKET,
    PATHS,
    STATE,
    VENDOR,
    fill_with_attacks,
    fill_work,
    keep_picture,
    look,
    opened,
    press,
    put,
    reading,
)

from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.proxy import TcpProxy

LOOKS = [(1440, False), (1440, True), (360, False), (360, True), (3840, False), (3840, True)]
ROW = {
    "ticker": MARKET,
    "event_ticker": "KXBTCD-26FEB03",
    "series_ticker": "KXBTCD",
}
CELL = """ticker => document.querySelector(`[data-key="${ticker}"]`)?.textContent"""
# Of a telephone's window innerWidth is as wide as what is in it.
SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
AXE = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.filter(each => ["serious", "critical"].includes(each.impact))
    .map(each => `${each.id}: ${each.nodes.map(node => node.html).slice(0, 3).join(" ")}`);
}"""


@pytest.fixture
async def full(database: Database) -> None:
    async with database.connect() as connection:
        await fill(connection)


@pytest.fixture
async def worked(full: None, database: Database, nats_server: NatsServer) -> None:
    """What a system has that has run for a while, with market data of the market."""
    await fill_work(database)
    client = await nats.connect(nats_server.url)
    await make_streams(client, shards=1)
    maker, books = Maker(), Maker("b")
    quote = maker.ticker(MARKET, known=False, yes_bid="0.4500", yes_ask="0.4750")
    await publish_data(client, maker.trade(MARKET, known=False), quote)
    bids = [(f"0.{number}00", f"{number}.00") for number in range(36, 46)]
    await publish_data(client, books.snapshot(MARKET, bids, [("0.4800", "9.00")]), shard=0)
    await client.close()


@pytest.mark.parametrize(
    "looks", [LOOKS[:1], pytest.param(LOOKS[1:], marks=pytest.mark.slow)], ids=["one", "others"]
)
@pytest.mark.usefixtures("worked")
async def test_each_page_keeps_the_policy_and_fits_its_window(
    streaming: Client, js: JetStreamContext, tmp_path: Path, looks: list[tuple[int, bool]]
) -> None:
    changes = {"yes_bid_dollars": {"old": "0.450000", "new": "0.455000"}}
    await publish(js, "markets", ROW, "market_updated", changes=changes)
    async with reading(streaming, tmp_path) as page:
        for name, path in PATHS.items():
            for width, dark in looks:
                await look(page, width, dark=dark)
                await opened(page, streaming.base + path)
                scheme = "dark" if dark else "light"
                await keep_picture(page, f"ui-{name}-{width}-{scheme}", tmp_path / "pictures")
                assert page.complaints == [], (name, width, scheme)
                assert await page.evaluate(SIDEWAYS) <= 0, (name, width, scheme)


async def test_titles_run_nothing(
    streaming: Client, database: Database, js: JetStreamContext, tmp_path: Path
) -> None:
    await fill_with_attacks(database)
    changes = {"title": {"old": EVIL, "new": f"{EVIL}!"}}
    async with reading(streaming, tmp_path) as page:
        await page.call(
            "Page.addScriptToEvaluateOnNewDocument", source="window.alert = () => { run = true; }"
        )
        for name in ("markets", "market", "event", "changes"):
            await opened(page, streaming.base + PATHS[name])
            await page.until(f"() => ({STATE})() === 'live'")
            # What is read anew is put in by the script.
            row = {**ROW, "title": EVIL}
            await publish(js, "markets", row, "market_updated", changes=changes, key=row)
            if name == "changes":
                await page.until("() => document.querySelector('[id^=n-]') !== null")
            assert "<img src=x onerror=alert(1)>" in await page.evaluate(
                "() => document.getElementById('main').textContent"
            )
            assert await page.evaluate("() => document.images.length") == 0
            assert await page.evaluate("() => typeof run") == "undefined"
            assert page.complaints == []


@pytest.mark.slow
@pytest.mark.usefixtures("worked")
async def test_axe_finds_nothing_serious(
    streaming: Client, js: JetStreamContext, tmp_path: Path
) -> None:
    await publish(js, "markets", ROW, "market_updated")
    program = (VENDOR / "axe.min.js").read_text()
    found: dict[str, Any] = {}
    async with reading(streaming, tmp_path) as page:
        # It is no part of the page, whose policy would not have it.
        await page.call("Page.setBypassCSP", enabled=True)
        for name, path in {**PATHS, "problem": "/ui/nowhere", "login": "/ui/login"}.items():
            for width, dark in ((1440, False), (1440, True), (360, False)):
                await look(page, width, dark=dark)
                await opened(page, streaming.base + path)
                await page.call("Runtime.evaluate", expression=program)
                if wrong := await page.evaluate(AXE):
                    found[f"{name} {width} {dark}"] = wrong
    assert found == {}


async def test_a_login_and_a_logout(api: Client, tmp_path: Path) -> None:
    async with browse(tmp_path) as page:
        await opened(page, f"{api.base}/ui/series")
        assert await page.evaluate("() => location.pathname") == "/ui/login"
        for key, expected in (("sk_test_nothing", "wrong, expired or revoked"), (api.key, "")):
            await page.evaluate(
                """key => {
                  document.querySelector("[name=key]").value = key;
                  document.querySelector("main form button").click();
                }""",
                key,
            )
            if expected:
                script = (
                    "text => document.querySelector('[role=alert]')?.textContent.includes(text)"
                )
                await page.until(script, expected)
                # The refusal's status is in the console, and nothing else.
                assert [each for each in page.complaints if "401" not in each] == []
                page.complaints.clear()
        await page.until("() => location.pathname === '/ui/series'")
        # No script can read the key.
        assert "sk_test" not in await page.evaluate("() => document.cookie")
        await page.until("() => document.documentElement.dataset.ready === 'yes'")
        await page.evaluate("() => document.querySelector('.out button').click()")
        await page.until("() => location.pathname === '/ui/login'")
        await opened(page, f"{api.base}/ui")
        assert await page.evaluate("() => location.pathname") == "/ui/login"
        assert page.complaints == []


@pytest.mark.usefixtures("full")
async def test_a_change_is_shown_after_the_sql_that_made_it(
    streaming: Client, database: Database, js: JetStreamContext, tmp_path: Path
) -> None:
    async with reading(streaming, tmp_path) as page, database.connect() as connection:
        await opened(page, f"{streaming.base}/ui/markets?series=KXBTCD&unit=dollars")
        await page.until(LIVE)
        await page.evaluate(
            """() => {
              document.getElementById("pick").open = true;
              document.querySelector("#pick [value=result]").click();
            }"""
        )
        await connection.execute(
            "UPDATE markets SET yes_bid_dollars = 0.4625 WHERE ticker = %s", [MARKET]
        )
        # As cdc tells of it.
        await publish(js, "markets", ROW, "market_updated", key={"ticker": MARKET})
        async with asyncio.timeout(15):
            await page.until(f"ticker => ({CELL})(ticker).includes('0.4625')", MARKET)
        # What is being chosen meanwhile stays.
        assert await page.evaluate("() => document.querySelector('#pick [value=result]').checked")
        assert page.complaints == []


@pytest.mark.usefixtures("full")
async def test_steps_and_changes_of_every_table_come_by_themselves(
    streaming: Client, database: Database, js: JetStreamContext, tmp_path: Path
) -> None:
    step = {"market_ticker": MARKET, "event_type": "deactivated"}
    async with reading(streaming, tmp_path) as page, database.connect() as connection:
        await opened(page, f"{streaming.base}/ui")
        await page.until(LIVE)
        await insert(
            connection, "market_lifecycle_events", **step, metadata={}, dedupe_key="x", sent_at=NOW
        )
        await publish(js, "market_lifecycle_events", step, "lifecycle_recorded")
        # Sooner than it is read anew in any case.
        async with asyncio.timeout(12):
            await page.until("() => document.querySelector('[data-step=deactivated]') !== null")
        await opened(page, f"{streaming.base}/ui/changes")
        await page.until(LIVE)
        for table, row in (
            ("events", {"event_ticker": "E", "series_ticker": "S"}),
            ("fees", {"tier": "T"}),
            ("market_lifecycle_events", step),
        ):
            sequence = await publish(js, table, row)
            await page.until("id => document.getElementById(id) !== null", f"n-{sequence}")
        assert page.complaints == []


@pytest.mark.usefixtures("full", "js")
async def test_one_types_and_the_list_and_the_address_follow(
    streaming: Client, tmp_path: Path
) -> None:
    async with reading(streaming, tmp_path) as page:
        await opened(page, f"{streaming.base}/ui/markets?sort=-volume")
        await put(page, "main [name=q]", "hou")
        await page.until("() => document.querySelectorAll('[data-key]').length === 2")
        assert await page.evaluate("() => location.search") == "?sort=-volume&q=hou"
        assert await page.evaluate("() => document.activeElement.name") == "q"
        # What cannot be is said beside the field, and what was shown stays.
        await put(page, "main [name=q]", "x")
        await page.until(
            "() => document.getElementById('form-problem').textContent.includes('2 characters')"
        )
        assert await page.evaluate("() => document.querySelectorAll('[data-key]').length") == 2
        assert [each for each in page.complaints if "400" not in each] == []


@pytest.mark.slow
@pytest.mark.usefixtures("full")
async def test_a_lost_stream_is_seen_and_heals(
    serve: Serve, database: Database, nats_server: NatsServer, js: JetStreamContext, tmp_path: Path
) -> None:
    async with (
        TcpProxy(database.url) as proxy,
        serve(
            nats_url=nats_server.url, database_url=proxy.url, api_statement_timeout_seconds=1
        ) as api,
        reading(api, tmp_path) as page,
        database.connect() as connection,
    ):
        await opened(page, f"{api.base}/ui/markets?series=KXBTCD&unit=dollars")
        await page.until(f"() => ({STATE})() === 'live'")
        proxy.freeze()
        await publish(js, "markets", ROW, "market_updated", key={"ticker": MARKET})
        await page.until(f"() => ({STATE})() === 'lost'")
        told = await page.evaluate("() => document.getElementById('live').textContent")
        assert told.startswith("not live for")
        # What was there is still there, and looks old.
        await page.until("() => document.getElementById('main').hasAttribute('data-stale')")
        assert MARKET in await page.evaluate(CELL, MARKET)
        proxy.thaw()
        await connection.execute(
            "UPDATE markets SET yes_bid_dollars = 0.4625 WHERE ticker = %s", [MARKET]
        )
        await page.until(f"ticker => ({CELL})(ticker).includes('0.4625')", MARKET)
        await page.until(f"() => ({STATE})() === 'live'")


@pytest.mark.parametrize("ended", ["revoked_at", "expires_at"])
@pytest.mark.usefixtures("full", "js")
async def test_a_key_that_is_good_no_more_ends_what_is_open(
    serve: Serve, database: Database, nats_server: NatsServer, tmp_path: Path, ended: str
) -> None:
    async with (
        serve(nats_url=nats_server.url, api_key_memory_seconds=0) as api,
        reading(api, tmp_path) as page,
    ):
        await opened(page, f"{api.base}/ui/markets")
        await page.until(f"() => ({STATE})() === 'live'")
        async with database.connect() as connection:
            await connection.execute(f"UPDATE api_keys SET {ended} = now()".encode())
        await page.until("() => location.pathname === '/ui/login'")
        await page.until("() => document.body?.textContent.includes('no longer good')")


@pytest.mark.usefixtures("full")
async def test_times_are_local_with_utc_at_hand(
    api: Client, database: Database, tmp_path: Path
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE markets SET latest_expiration_time = '2099-12-06T20:00Z' WHERE ticker = %s",
            [MARKET],
        )
    async with reading(api, tmp_path) as page:
        await page.call("Emulation.setTimezoneOverride", timezoneId="Asia/Kolkata")
        await opened(page, f"{api.base}/ui/markets/{MARKET}")
        time = "document.querySelector('time[datetime^=\"2026-02-03T22:05:00\"]')"
        assert "03:35:00" in await page.evaluate(f"() => {time}.textContent")
        assert await page.evaluate(f"() => {time}.title") == "2026-02-03 22:05:00 UTC"
        # Of another year the year is said.
        far = "document.querySelector('dd time[datetime^=\"2099-12-06\"]').textContent"
        assert "2099" in await page.evaluate(f"() => {far}")


@pytest.mark.usefixtures("full")
async def test_pages_read_without_javascript(api: Client, tmp_path: Path) -> None:
    async with reading(api, tmp_path) as page:
        await page.call("Emulation.setScriptExecutionDisabled", value=True)
        await page.call("Page.navigate", url=f"{api.base}/ui/markets?q=hou")
        # DevTools' own scripts run all the same.
        await page.until("() => document.readyState === 'complete' && location.search === '?q=hou'")
        assert await page.evaluate("() => document.documentElement.dataset.ready") is None
        text = await page.evaluate("() => document.body.innerText")
        assert "Will KXNBAGAME-26FEB03HOUPIT-HOU win?" in text
        assert await page.evaluate("() => document.querySelector('noscript button') !== null")
        for path in PATHS.values():
            await page.call("Page.navigate", url=api.base + path)
            await page.until(
                "path => location.pathname + location.search === path"
                " && document.readyState === 'complete'",
                path,
            )
            assert await page.evaluate("() => document.documentElement.dataset.ready") is None
            # Nothing waits for a script, nor says that it is live.
            assert await page.evaluate("() => document.getElementById('live')?.hidden ?? true")
            assert len(await page.evaluate("() => document.querySelector('main').innerText")) > 40


async def reached(page: Page, times: int) -> list[str]:
    """What the keyboard's Tab comes to, one after the other."""
    found = []
    for _ in range(times):
        await press(page, "Tab")
        found.append(
            await page.evaluate(
                "() => document.activeElement.getAttribute('aria-label')"
                " ?? document.activeElement.textContent.trim()"
            )
        )
    return found


@pytest.mark.usefixtures("full")
async def test_the_keyboard_reaches_everything(api: Client, tmp_path: Path) -> None:
    async with reading(api, tmp_path) as page:
        await opened(page, f"{api.base}/ui/series")
        assert (await reached(page, 6))[:6] == [
            "Skip to content",
            "ssmd",
            "Now",
            "Markets",
            "Series",
            "Changes",
        ]
        await press(page, "/")
        await page.until("() => document.activeElement.name === 'q'")
