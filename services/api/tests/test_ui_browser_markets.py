"""The page of markets in a browser: each filter, orders, columns, pages, a moment, the file."""

import asyncio
import csv
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from api_browser import Page
from api_stream import publish
from api_testbed import Client
from nats.js.client import JetStreamContext
from ui_pages import LIVE, MARKET, click, opened, press, put, reading, reloaded, shown

from ssmd_stack.database import Database

ROWS = "() => [...document.querySelectorAll('[data-key]')].map(row => row.dataset.key)"
HEADS = "() => [...document.querySelectorAll('thead th')].map(cell => cell.textContent.trim())"
ORDER = "() => document.querySelector('[aria-sort]')?.textContent.replace(/[↑↓]/, '').trim()"

pytestmark = pytest.mark.usefixtures("universe", "js")


async def listed(api: Client, query: str) -> list[str]:
    """Whom the server lists for an address."""
    return re.findall(r'<tr id="m-([^"]+)"', (await shown(api, f"/ui/markets?{query}")).text)


async def has(page: Page, tickers: list[str]) -> None:
    await page.until(f"wanted => String(({ROWS})()) === String(wanted)", tickers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("q", "hou"),
        ("status", "active"),
        ("status", "settled"),
        ("closing", "6h"),
        ("category", "Sports"),
        ("series", "KXBTCD"),
        ("tag", "Basketball"),
        ("min_volume", "1000"),
    ],
)
async def test_each_filter_is_chosen_and_stands_in_the_address(
    streaming: Client, tmp_path: Path, name: str, value: str
) -> None:
    every, expected = (
        await listed(streaming, "sort=-volume"),
        await listed(streaming, f"sort=-volume&{name}={value}"),
    )
    assert set(expected) < set(every)
    async with reading(streaming, tmp_path) as page:
        await opened(page, f"{streaming.base}/ui/markets?sort=-volume")
        await has(page, every)
        await put(page, f"main [name={name}]", value)
        await has(page, expected) if expected else await page.until(
            "() => document.querySelector('.notice')?.textContent.includes('No market fits')"
        )
        assert await page.evaluate("() => location.search") == f"?sort=-volume&{name}={value}"
        await reloaded(page)
        field = "name => document.querySelector(`main [name=${name}]`).value"
        assert await page.evaluate(field, name) == value
        assert await page.evaluate(ROWS) == expected
        await put(page, f"main [name={name}]", "")
        await has(page, every)
        assert page.complaints == []


async def test_orders_columns_and_pages_are_chosen(streaming: Client, tmp_path: Path) -> None:
    async with reading(streaming, tmp_path) as page:
        await opened(page, f"{streaming.base}/ui/markets?series=KXBTCD&limit=50")
        for query in ("sort=-volume_24h", "sort=volume_24h"):
            await click(page, "thead a[href*=volume_24h]")
            await page.until("query => location.search.includes(query)", query)
            await page.until(f"() => ({ORDER})() === 'vol 24 h'")
            assert await page.evaluate(ROWS) == await listed(streaming, f"series=KXBTCD&{query}")
        await page.evaluate("() => { document.getElementById('pick').open = true; }")
        for column in ("title", "result", "event.title"):
            await click(page, f"#pick [value='{column}']")
        await click(page, "#pick button")
        await page.until("() => location.search.includes('event.title')")
        await page.until(f"() => ({HEADS})().includes('event')")
        heads = await page.evaluate(HEADS)
        assert "result" in heads
        assert "market" not in heads
        # What was chosen before is still so.
        assert await page.evaluate(ROWS) == await listed(streaming, "series=KXBTCD&sort=volume_24h")
        every = await listed(streaming, "sort=-volume")
        await opened(page, f"{streaming.base}/ui/markets?sort=-volume&limit=2")
        assert await page.evaluate(ROWS) == every[:2]
        await click(page, "[rel=next]")
        await has(page, every[2:4])
        await page.evaluate("() => history.back()")
        await has(page, every[:2])
        assert page.complaints == []


async def test_the_whole_page_turns_into_a_moment_and_back(
    streaming: Client, database: Database, tmp_path: Path
) -> None:
    await asyncio.sleep(1.01 - datetime.now(UTC).microsecond / 1e6)
    then = datetime.now(UTC)
    await asyncio.sleep(1.01)
    async with database.connect() as connection:
        await connection.execute("UPDATE markets SET title = 'Renamed' WHERE ticker = %s", [MARKET])
    title = f"() => document.querySelector(`[data-key='{MARKET}'] .name`)?.textContent.trim()"
    async with reading(streaming, tmp_path) as page:
        await opened(page, f"{streaming.base}/ui/markets?series=KXBTCD")
        assert (await page.evaluate(title)).startswith("Renamed")
        await page.evaluate(
            """at => {
              document.getElementById("when").open = true;
              document.querySelector("#when [name=as_of]").value = at;
              document.querySelector("#when button").click();
            }""",
            f"{then:%Y-%m-%dT%H:%M:%S}",
        )
        await page.until("() => document.getElementById('live')?.dataset.state === 'past'")
        assert (await page.evaluate(title)).startswith(f"Will {MARKET} win?")
        # All that it leads to is of the moment, too, and the filters stay.
        assert "series=KXBTCD" in await page.evaluate("() => location.search")
        assert await page.evaluate(
            "() => [...document.querySelectorAll('[data-key] a, nav a[href*=series]')]"
            ".every(link => link.search.includes('as_of='))"
        )
        await click(page, f"[data-key='{MARKET}'] .name a")
        await page.until("() => document.querySelector('h1')?.textContent.startsWith('Will ')")
        await click(page, ".past a")
        await page.until("() => document.querySelector('h1')?.textContent === 'Renamed'")
        assert page.complaints == []


async def test_what_is_shown_is_saved(streaming: Client, tmp_path: Path) -> None:
    async with reading(streaming, tmp_path) as page:
        await opened(
            page, f"{streaming.base}/ui/markets?series=KXBTCD&sort=-volume&fields=ticker,volume_fp"
        )
        rows = await page.evaluate(ROWS)
        await click(page, "[download]")
        file = tmp_path / "markets.csv"
        async with asyncio.timeout(30):
            while not file.exists():  # noqa: ASYNC110 - Chromium's, which tells of nothing else
                await asyncio.sleep(0.05)
        saved = list(csv.DictReader(io.StringIO(file.read_text())))
        assert [row["ticker"] for row in saved] == rows
        assert list(saved[0]) == ["ticker", "volume_fp"]


async def test_numbers_are_in_the_readers_unit_and_exact_on_hover(
    streaming: Client, database: Database, tmp_path: Path
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE markets SET yes_bid_dollars = 0.4525, volume_24h_fp = 1234567.5,"
            # Within the hour a countdown has seconds; before that it turns once a minute.
            " close_time = now() + interval '50 minutes' WHERE ticker = %s",
            [MARKET],
        )
    cell = f"document.querySelector(\"[data-key='{MARKET}'] %s\")"
    async with reading(streaming, tmp_path) as page:
        await opened(page, f"{streaming.base}/ui/markets?series=KXBTCD")
        price, count = cell % ".price", cell % "[data-label='vol 24 h'] .count"
        assert await page.evaluate(f"() => {price}.textContent") == "45.25"
        assert await page.evaluate(f"() => {price}.title") == "$0.4525"
        assert await page.evaluate(f"() => {count}.textContent") == "1.23M"
        assert await page.evaluate(f"() => {count}.title") == "1,234,567.5"
        await click(page, ".unit")
        await page.until(f"() => {price}?.textContent === '0.4525'")
        # A countdown runs by itself.
        left = f"() => {cell % '[data-form=until]'}.textContent"
        before = await page.evaluate(left)
        await page.until(f"before => ({left})() !== before", before)


async def test_rows_come_and_go_by_themselves_and_by_keyboard_one_gets_on(
    streaming: Client, database: Database, js: JetStreamContext, tmp_path: Path
) -> None:
    row = {"ticker": MARKET, "event_ticker": "KXBTCD-26FEB03", "series_ticker": "KXBTCD"}
    async with reading(streaming, tmp_path) as page, database.connect() as connection:
        await opened(page, f"{streaming.base}/ui/markets?status=active&sort=ticker")
        await page.until(LIVE)
        before = await page.evaluate(ROWS)
        assert MARKET in before
        await connection.execute("UPDATE markets SET status = 'closed' WHERE ticker = %s", [MARKET])
        await publish(js, "markets", row, "market_closed", key={"ticker": MARKET})
        await has(page, [ticker for ticker in before if ticker != MARKET])
        await press(page, "/")
        await page.until("() => document.activeElement.name === 'q'")
        # From there to the first market, and into it.
        async with asyncio.timeout(30):
            while not await page.evaluate(
                "() => document.activeElement.closest('[data-key] .name') !== null"
            ):
                await press(page, "Tab")
        await press(page, "Enter")
        await page.until("() => document.querySelector('h1')?.textContent.startsWith('Will ')")
        assert page.complaints == []
