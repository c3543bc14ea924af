"""The pages of /ui as tests have them: over HTTP and in a browser."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from api_browser import Page, browse
from api_testbed import Client
from api_universe import NOW, fill, insert, insert_request, insert_status
from psycopg.types.json import Jsonb

from ssmd_stack.database import Database

VENDOR = Path(__file__).parent / "vendor"
MARKET = "KXBTCD-26FEB03-T97500.99"
PATHS = {
    "now": "/ui",
    "markets": "/ui/markets?sort=-volume",
    "market": f"/ui/markets/{MARKET}",
    "event": "/ui/events/KXBTCD-26FEB03",
    "series": "/ui/series",
    "one-series": "/ui/series/KXBTCD",
    "changes": "/ui/changes",
    "search": "/ui/search?q=win",
    "admin": "/ui/admin",
    "admin-keys": "/ui/admin/keys",
}
"""Of the universe of `api_universe`."""


EVIL = (
    "<img src=x onerror=alert(1)>\"'</title><script>alert(2)</script> \u202eשלום 🦀 {{7*7}} ${7*7}"
)
"""A title as nobody should have one."""


async def fill_with_attacks(database: Database) -> None:
    """A universe in which every text of the exchange is an attack."""
    async with database.connect() as connection:
        await fill(connection)
        await connection.execute(
            "UPDATE series SET title = %s, tags = ARRAY[%s], contract_url = 'javascript:alert(1)',"
            ' settlement_sources = \'[{"name": "<b>", "url": "javascript:alert(1)"}]\'',
            (EVIL, EVIL),
        )
        await connection.execute("UPDATE events SET title = %s, sub_title = %s", (EVIL, EVIL))
        await connection.execute(
            "UPDATE markets SET title = %s, yes_sub_title = %s, rules_primary = %s",
            (EVIL, EVIL, EVIL),
        )


async def fill_work(database: Database) -> None:
    """What a system that has run for a while says of itself: runs, gaps, requests, services."""
    rejected = [{"ticker": "KXBAD-1", "reason": f"status: 'halted' {EVIL}"}]
    field = {"table": "markets", "ticker": MARKET, "field": "floor_strike", "reason": "'x' is none"}
    drift = {"kind": "unknown field", "entity": "market", "name": "is_new", "count": 12}
    jobs = {"everything": {"every_seconds": 3600}, "fees": {"every_seconds": 60}}
    verified = {
        "rows": 1200,
        "entries": 1300,
        "drift": 1,
        "differences": [{"key": "m:1", "field": "status", "expected": "open", "found": "active"}],
        "unreadable": 0,
        "unreadable_rows": [],
    }
    async with database.connect() as connection:
        for ended, repaired, changed in ((9, 8, 3), (2, None, None)):
            await insert(
                connection,
                "lifecycle_gaps",
                reason="disconnected",
                began_at=NOW - timedelta(minutes=10),
                ended_at=NOW - timedelta(minutes=ended),
                repaired_at=repaired and NOW - timedelta(minutes=repaired),
                changed=changed,
            )
        await insert(
            connection,
            "sync_runs",
            job="everything",
            scope={"mode": "full"},
            outcome="partial",
            fetched=97,
            finished_at=NOW,
            started_at=NOW - timedelta(seconds=72),
            rejected_rows=Jsonb(rejected),
            rejected_fields=Jsonb([field]),
        )
        await insert_status(
            connection, "sync", {"jobs": jobs, "drift": [{**drift, "example": "true"}]}
        )
        for service, epoch in (("cdc", 4), ("cache", 3)):
            position = {"epoch": epoch, "lsn": "0/16B3748", "sequence": 1234}
            await insert_status(connection, service, position)
        await insert_request(
            connection, service="cache", task="verify", state="done", result=Jsonb(verified)
        )


@dataclass(slots=True)
class Shown:
    status: int
    text: str
    headers: Any


async def shown(api: Client, path: str, **more: Any) -> Shown:
    """A page as a reader who is logged in gets it."""
    cookies = more.pop("cookies", {"ssmd_ui_key": api.key})
    async with (
        aiohttp.ClientSession(cookies=cookies) as http,
        http.get(api.base + path, allow_redirects=False, **more) as reply,
    ):
        return Shown(reply.status, await reply.text(), reply.headers)


def words(html: str) -> str:
    """What a page says, without its marks."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


@asynccontextmanager
async def reading(api: Client, directory: Path) -> AsyncIterator[Page]:
    """A browser whose reader is logged in."""
    async with browse(directory) as page:
        await page.call("Network.enable")
        await page.call(
            "Network.setCookie", name="ssmd_ui_key", value=api.key, url=f"{api.base}/ui", path="/ui"
        )
        yield page


async def opened(page: Page, url: str) -> None:
    await page.call("Page.navigate", url=url)
    await page.until("() => document.documentElement?.dataset.ready === 'yes'")


async def look(page: Page, width: int, *, dark: bool) -> None:
    """Have a window of this width, in a light or a dark scheme."""
    await page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=width < 600,
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    await page.call("Emulation.setEmulatedMedia", features=[scheme])


async def keep_picture(page: Page, name: str, otherwise: Path) -> None:
    """Keep what is seen: in the directory that SSMD_SCREENSHOTS names, else where the test is."""
    directory = Path(os.environ.get("SSMD_SCREENSHOTS") or otherwise)
    picture = await page.picture()
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs
    (directory / f"{name}.png").write_bytes(picture)


STATE = "() => document.getElementById('live')?.dataset.state"
LIVE = f"() => ({STATE})() === 'live' && document.documentElement.dataset.read > 0"
"""Once it is live, it is read anew for what came before."""


async def put(page: Page, selector: str, value: str) -> None:
    """Put a value into a field, as one who types or chooses it."""
    await page.evaluate(
        """(selector, value) => {
          const field = document.querySelector(selector);
          field.focus();
          field.value = value;
          field.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        selector,
        value,
    )


async def hurry(page: Page, times: int) -> None:
    """Have the clock and the timers of all further pages run so many times as fast."""
    script = """
      const [now, origin, times] = [Date.now, %d, %d];
      Date.now = () => origin + (now() - origin) * times;
      for (const name of ["setTimeout", "setInterval"]) {
        const timer = globalThis[name];
        globalThis[name] = (done, wait = 0, ...more) => timer(done, wait / times, ...more);
      }
    """
    # One origin for all of them: no page is behind the one before it.
    origin = await page.evaluate("() => Date.now()")
    await page.call(
        "Page.addScriptToEvaluateOnNewDocument", source="{%s}" % (script % (origin, times))
    )


async def reloaded(page: Page) -> None:
    await page.evaluate("() => { delete document.documentElement.dataset.ready; }")
    await page.call("Page.reload")
    await page.until("() => document.documentElement?.dataset.ready === 'yes'")


async def click(page: Page, selector: str) -> None:
    await page.evaluate("selector => document.querySelector(selector).click()", selector)


async def press(page: Page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
        code = {"Tab": 9, "Enter": 13}.get(key, ord(key[0].upper()))
        more = {"text": "\r"} if key == "Enter" and kind == "keyDown" else text
        await page.call(
            "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more
        )
