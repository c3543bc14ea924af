"""The page of changes in a browser: filters, pause, back to a time, from old to new; and what
becomes of a page whose API goes away."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from api_browser import Page
from api_stream import publish
from api_testbed import Client, Serve
from api_universe import fill
from nats.js.client import JetStreamContext
from ui_pages import LIVE, MARKET, STATE, click, hurry, opened, press, put, reading, reloaded

from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.proxy import TcpProxy

ROW = {"ticker": MARKET, "event_ticker": "KXBTCD-26FEB03", "series_ticker": "KXBTCD"}
EVENT = {"event_ticker": "KXBTCD-26FEB03", "series_ticker": "KXBTCD"}
SHOWN = "() => [...document.querySelectorAll('[id^=n-]')].map(row => Number(row.id.slice(2)))"
IS_SHOWN = "number => document.getElementById(`n-${number}`) !== null"
TEXT = "number => document.getElementById(`n-${number}`)?.textContent.replace(/\\s+/g, ' ')"


async def update(js: JetStreamContext) -> int:
    return await publish(js, "markets", ROW, "market_updated")


async def shows(page: Page, *numbers: int) -> None:
    """Wait until it has these, and no others."""
    await page.until(f"wanted => String(({SHOWN})()) === String(wanted)", list(numbers))


async def test_a_page_that_is_paused_stays_as_it_is_until_it_goes_on(
    streaming: Client, js: JetStreamContext, tmp_path: Path
) -> None:
    async with reading(streaming, tmp_path) as page:
        first = await update(js)
        await opened(page, f"{streaming.base}/ui/changes")
        await page.until(LIVE)
        second = await update(js)
        await shows(page, second, first)
        label = "() => document.querySelector('[data-pause]').textContent"
        assert await page.evaluate(label) == "Pause"
        for pause, go_on in (("[data-pause]", "p"), ("p", "#live"), ("#live", "[data-pause]")):
            await (press(page, pause) if len(pause) == 1 else click(page, pause))
            assert await page.evaluate(STATE) == "paused"
            assert await page.evaluate(label) == "Go on"
            before = await page.evaluate(SHOWN)
            number = await update(js)
            # Longer than what comes may wait to be shown.
            await page.evaluate("() => new Promise(done => setTimeout(done, 1500))")
            assert await page.evaluate(SHOWN) == before
            await (press(page, go_on) if len(go_on) == 1 else click(page, go_on))
            await shows(page, number, *before)
            await page.until(f"() => ({STATE})() === 'live'")
        following = await update(js)
        await page.until(IS_SHOWN, following)
        assert page.complaints == []


async def test_filters_are_chosen_and_stand_in_the_address(
    streaming: Client, js: JetStreamContext, tmp_path: Path
) -> None:
    other = {"ticker": "OTHER-1", "event_ticker": "OTHER", "series_ticker": "KXOTHER"}
    async with reading(streaming, tmp_path) as page:
        updated = await update(js)
        closed = await publish(js, "events", EVENT, "event_closed")
        settled = await publish(js, "markets", other, "market_settled")
        await opened(page, f"{streaming.base}/ui/changes")
        await shows(page, settled, closed, updated)
        for chosen, expected, query in (
            ("[value=events]", [closed], "?table=events"),
            ("[value=markets]", [settled, closed, updated], "?table=events&table=markets"),
            (
                "[value=market_settled]",
                [settled],
                "?table=events&table=markets&type=market_settled",
            ),
        ):
            await click(page, f"main {chosen}")
            await shows(page, *expected)
            assert await page.evaluate("() => location.search") == query
            await page.until(f"() => ({STATE})() === 'live'")
        # What is written in the address is what a reader who is sent it sees, and is followed.
        for name, value, expected in (
            ("series", "KXOTHER", [settled]),
            ("event", "KXBTCD-26FEB03", [closed, updated]),
            ("market", MARKET, [updated]),
        ):
            await opened(page, f"{streaming.base}/ui/changes")
            await page.until(LIVE)
            await put(page, f"main [name={name}]", value)
            await shows(page, *expected)
            assert await page.evaluate("() => location.search") == f"?{name}={value}"
            await reloaded(page)
            await shows(page, *expected)
        await page.until(LIVE)
        await publish(js, "events", EVENT, "event_updated")
        again = await update(js)
        await shows(page, again, updated)
        await click(page, "[href='/ui/changes']:not(nav a)")
        await page.until(IS_SHOWN, settled)
        assert page.complaints == []


async def test_back_to_a_time_and_to_the_latest_again(
    streaming: Client, js: JetStreamContext, tmp_path: Path
) -> None:
    first = await update(js)
    # The field has seconds, and a stream the time at which its server stored each message.
    then = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    await asyncio.sleep((then - datetime.now(UTC)).total_seconds() + 0.01)
    second = await update(js)
    async with reading(streaming, tmp_path) as page:
        await opened(page, f"{streaming.base}/ui/changes")
        await shows(page, second, first)
        await put(page, "[name=until]", f"{then:%Y-%m-%dT%H:%M:%S}")
        await shows(page, first)
        # What is of the past follows nothing, and says of when it is.
        await page.until("() => document.getElementById('live').hidden")
        told = await page.evaluate("() => document.querySelector('.tools time').title")
        assert told == f"{then:%Y-%m-%d %H:%M:%S} UTC"
        third = await update(js)
        await page.until("() => document.querySelector('.tools a').textContent === 'the latest'")
        await click(page, ".tools a")
        await shows(page, third, second, first)
        await page.until(LIVE)
        assert page.complaints == []


async def test_each_change_is_from_old_to_new_in_the_readers_unit(
    streaming: Client, js: JetStreamContext, tmp_path: Path
) -> None:
    changes = {
        "status": {"old": "open", "new": "active"},
        "yes_bid_dollars": {"old": "0.450000", "new": "0.455000"},
        "result": {"old": None, "new": "yes"},
        "close_time": {"old": "2026-02-03T22:05:00Z", "new": "2026-02-03T22:05:00.5Z"},
    }
    async with reading(streaming, tmp_path) as page:
        await page.call("Emulation.setTimezoneOverride", timezoneId="Asia/Kolkata")
        await opened(page, f"{streaming.base}/ui/changes")
        await page.until(LIVE)
        number = await publish(js, "markets", ROW, "market_updated", changes=changes)
        await page.until(IS_SHOWN, number)
        said = await page.evaluate(TEXT, number)
        for part in (
            "status open → active",
            "yes bid 45 → 45.5",
            "result nothing → yes",
            "03:35:00 → ",
            "03:35:00.5",
        ):
            assert part in said, said
        await click(page, ".unit")
        await page.until(f"number => ({TEXT})(number)?.includes('0.45 → 0.455')", number)
        # It is kept for the next page.
        await opened(page, f"{streaming.base}/ui/changes")
        assert "0.45 → 0.455" in await page.evaluate(TEXT, number)
        assert page.complaints == []


async def test_a_lost_connection_is_seen_and_heals_and_is_a_gap_in_the_plot(
    serve: Serve, database: Database, nats_server: NatsServer, js: JetStreamContext, tmp_path: Path
) -> None:
    async with database.connect() as connection:
        await fill(connection)
    rate = "() => document.getElementById('rate')?.textContent"
    kept = "() => JSON.parse(sessionStorage.getItem('ssmd changes a second'))"
    async with (
        serve(nats_url=nats_server.url) as api,
        TcpProxy(api.base) as proxy,
        reading(api, tmp_path) as page,
    ):
        # It is of waits alone: for whole seconds, for what is old, for the next attempt.
        await hurry(page, 4)
        await opened(page, f"{proxy.url}/ui")
        await page.until(LIVE)
        # A second that was followed as a whole is known.
        await page.until(f"() => ({rate})() !== ''")
        for _ in range(3):
            await update(js)
        await page.until(f"() => Number.parseFloat(({rate})()) > 0")
        proxy.lead_to("http://127.0.0.1:1")
        proxy.cut()
        await page.until(f"() => ({STATE})() === 'lost'")
        assert (
            await page.evaluate("() => document.getElementById('live').textContent")
        ).startswith("not live for")
        await page.until("() => document.getElementById('main').hasAttribute('data-stale')")
        away = await page.evaluate("() => Math.floor(Date.now() / 1000)")
        proxy.lead_to(api.base)
        await page.until(f"() => ({STATE})() === 'live'")
        await page.until("() => !document.getElementById('main').hasAttribute('data-stale')")
        await page.until("() => document.getElementById('said').textContent === 'Live again'")
        # What was counted is still there for who comes back to the page.
        await opened(page, f"{proxy.url}/ui/changes")
        counted = dict(await page.evaluate(kept))
        assert sum(counted.values()) == 3
        assert away not in counted
        await opened(page, f"{proxy.url}/ui")
        assert dict(await page.evaluate(kept)) == counted
        # Chromium's console says what was refused, and nothing else.
        assert [each for each in page.complaints if "net::ERR" not in each] == []


@pytest.mark.parametrize("path", ["/ui", "/ui/changes", "/ui/markets"])
async def test_without_nats_a_page_is_there_and_says_that_it_is_not_live(
    serve: Serve, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssmd_api.feed.CONNECT_SECONDS", 0.2)
    async with serve(nats_url="nats://127.0.0.1:1") as api, reading(api, tmp_path) as page:
        await opened(page, f"{api.base}{path}")
        if path == "/ui/changes":
            told = await page.evaluate("() => document.querySelector('.notice').textContent")
            assert "The change stream cannot be read" in told
            return
        await page.until(f"() => ({STATE})() === 'lost'")
        why = await page.evaluate("() => document.getElementById('live').title")
        assert "change stream" in why or "NATS" in why
        assert await page.evaluate("() => document.querySelector('.notice, .figures') !== null")
