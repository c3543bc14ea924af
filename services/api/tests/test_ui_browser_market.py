"""From a category down to a market in a browser, and what one does on a market's page."""

from pathlib import Path

import pytest
from api_testbed import Client
from ui_pages import MARKET, click, opened, put, reading

pytestmark = pytest.mark.usefixtures("universe", "js")

PATH = "() => location.pathname + location.search"
FEES = "() => document.querySelector('.fees')?.textContent"
READY = "() => document.documentElement?.dataset.ready === 'yes'"


async def test_one_goes_down_from_a_category_to_a_market(streaming: Client, tmp_path: Path) -> None:
    async with reading(streaming, tmp_path) as page:
        await opened(page, f"{streaming.base}/ui")
        for link, place in (
            ("main a[href*='category=Crypto']", "/ui/series?category=Crypto"),
            ("[id='s-KXBTCD'] a", "/ui/series/KXBTCD"),
            ("[id='ev-KXBTCD-26FEB03'] a", "/ui/events/KXBTCD-26FEB03"),
            (f"[id='e-{MARKET}'] a", f"/ui/markets/{MARKET}"),
            (".crumbs a:last-child", "/ui/events/KXBTCD-26FEB03"),
        ):
            await click(page, link)
            await page.until(f"place => ({PATH})() === place", place)
            await page.until(READY)
        assert page.complaints == []


async def test_what_a_fill_costs_follows_what_one_types(streaming: Client, tmp_path: Path) -> None:
    async with reading(streaming, tmp_path) as page:
        await opened(page, f"{streaming.base}/ui/markets/{MARKET}")
        await put(page, ".fee [name=price]", "50")
        await page.until(f"() => ({FEES})()?.includes('taker $0.8750')")
        await put(page, ".fee [name=count]", "200")
        await page.until(f"() => ({FEES})()?.includes('taker $1.7500')")
        assert await page.evaluate(PATH) == f"/ui/markets/{MARKET}?price=50&count=200"
        await put(page, ".fee [name=price]", "101")
        await page.until("() => document.querySelector('main').textContent.includes('A price is')")
        assert page.complaints == []


async def test_names_are_copied(streaming: Client, tmp_path: Path) -> None:
    async with reading(streaming, tmp_path) as page:
        await page.call(
            "Browser.grantPermissions",
            permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
        )
        # Who has no focus may not read what was copied.
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await opened(page, f"{streaming.base}/ui/markets/{MARKET}")
        names = await page.evaluate(
            "() => [...document.querySelectorAll('[data-copy]')].map(each => each.dataset.copy)"
        )
        assert "cdc.markets.*.KXBTCD.KXBTCD-26FEB03.KXBTCD-26FEB03-T97500%2E99" in names
        assert f"secmaster:series:KXBTCD:KXBTCD-26FEB03:{MARKET}" in names
        for name in (names[0], names[-1]):
            await page.evaluate(
                'name => document.querySelector(`[data-copy="${name}"]`).click()', name
            )
            await page.until("async name => await navigator.clipboard.readText() === name", name)
        assert page.complaints == []
