"""/docs in a browser: every operation opened and sent, its snippets run, its policy kept."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import nats
import pytest
from api_browser import Page, browse
from api_testbed import Client, Serve
from api_universe import fill, insert_request, insert_status
from made_market_data import make_streams
from nats.js.client import JetStreamContext
from ui_pages import look

from ssmd_api import examples
from ssmd_api.app import ROUTES
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer

MARKET = "KXBTCD-26FEB03-T97500.99"
VALUES = {
    "get_v1_series_ticker": {"ticker": "KXBTCD"},
    "get_v1_series_ticker_history": {"ticker": "KXBTCD"},
    "get_v1_events_event_ticker_history": {"event_ticker": "KXBTCD-26FEB03"},
    "get_v1_markets_ticker_history": {"ticker": MARKET},
    "get_v1_collections_collection_ticker": {"collection_ticker": "KXMVEBTC-R"},
    "get_v1_events_event_ticker": {"event_ticker": "KXBTCD-26FEB03"},
    "get_v1_markets_ticker": {"ticker": MARKET},
    "get_v1_markets_ticker_lifecycle": {"ticker": MARKET},
    **{
        f"get_v1_markets_ticker_{part}": {"ticker": MARKET} for part in ("trades", "ticker", "book")
    },
    "get_v1_fees_series": {"series": "KXBTCD", "price": "0.55"},
    "get_v1_search": {"q": "win"},
    "get_v1_export": {"format": "csv", "entity": "markets"},
}
FILL = """(id, values) => {
  const operation = document.getElementById(id);
  for (const [name, value] of Object.entries(values)) {
    const field = operation.querySelector(`[name="${name}"]`);
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
}"""
CLICK = """(id, button) => document.getElementById(id).querySelector(button).click()"""
STATUS = """id => {
  const { textContent, dataset } = document.getElementById(id).querySelector(".status");
  return dataset.kind && dataset.kind !== "running" && textContent;
}"""
ANSWER = """id => document.getElementById(id).querySelector(".answer").textContent"""
EXAMPLES = """id => [...document.getElementById(id).querySelectorAll(".example")]
  .map(example => example.textContent)"""
BACKTICKS = """async () => {
  // What is opened is filled when its event comes, and then has more to open.
  const parts = [...document.getElementsByClassName("fields")];
  while (parts.some(part => !part.open || part.childElementCount < 2)) {
    for (const part of parts) part.open = true;
    await new Promise(done => setTimeout(done));
    parts.splice(0, parts.length, ...document.getElementsByClassName("fields"));
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const { data, parentElement } = walker.currentNode;
    if (data.includes("`") && !parentElement.closest("pre, textarea")) found.push(data);
  }
  return found;
}"""
"""Prose of the page in which code is not shown as such."""
TOO_WIDE = """() => {
  // Of a telephone's window innerWidth is as wide as what is in it.
  const { clientWidth, scrollWidth } = document.documentElement;
  if (scrollWidth <= clientWidth) return [];
  return [...document.querySelectorAll("main *")]
    .filter(each => each.getBoundingClientRect().right > clientWidth)
    .map(each => each.outerHTML.slice(0, 200)).slice(-5);
}"""
SNIPPET = """(id, form) => {
  const operation = document.getElementById(id);
  [...operation.querySelectorAll(".tabs button")].find(tab => tab.textContent === form).click();
  return operation.querySelector(".snippet").textContent;
}"""


async def opened(page: Page, api: Client) -> None:
    """The page with the key filled in."""
    await page.call("Page.navigate", url=f"{api.base}/docs")
    await page.until("() => document.documentElement?.dataset.ready > 0")
    await page.evaluate(
        """key => {
          for (const [id, value] of [["key", key], ["show-key", true]]) {
            const field = document.getElementById(id);
            if (value === true) field.checked = true; else field.value = value;
            field.dispatchEvent(new Event("input", { bubbles: true }));
          }
        }""",
        api.key,
    )


async def opened_operation(page: Page, name: str, **values: str) -> None:
    await page.evaluate("id => { document.getElementById(id).open = true; }", name)
    await page.until("id => document.getElementById(id).querySelector('.send') !== null", name)
    await page.evaluate(FILL, name, {**VALUES.get(name, {}), **values})


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    out, error = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == 0, error.decode()
    return out.decode()


async def test_every_operation_is_opened_and_sent(
    serve: Serve,
    database: Database,
    nats_server: NatsServer,
    js: JetStreamContext,
    tmp_path: Path,
) -> None:
    async with database.connect() as connection:
        await fill(connection)
        await insert_status(connection, "sync", {"jobs": {examples.PARAMETERS["job"]: {}}})
        await insert_request(connection)
    client = await nats.connect(nats_server.url)
    await make_streams(client, shards=1)
    await client.close()
    async with serve(nats_url=nats_server.url) as api, browse(tmp_path) as page:
        await opened(page, api)
        ids = await page.evaluate(
            "() => [...document.querySelectorAll('.operation')].map(each => each.id)"
        )
        assert len(ids) == len(ROUTES)
        for name in sorted(ids, key=lambda name: name.startswith("delete")):
            await opened_operation(page, name)
            if name == "delete_v1_keys_id":
                # Not the key that asks: the one that POST made.
                await opened_operation(page, name, id="2")
            shown = await page.evaluate(EXAMPLES, name)
            # A key that was revoked has no reply to show.
            assert all(shown), name
            assert shown or name.startswith("delete"), name
            await page.evaluate(CLICK, name, ".send")
            status = await page.until(STATUS, name)
            assert status.startswith("20"), (name, status, await page.evaluate(ANSWER, name))
        assert MARKET in await page.evaluate(ANSWER, "get_v1_export")
        assert await page.evaluate(BACKTICKS) == []
        # With all of it open it fits a telephone.
        await look(page, 360, dark=False)
        assert await page.evaluate(TOO_WIDE) == []
        # Changes come as they happen, and no more once it is stopped.
        assert (await js.publish("cdc.markets.update.A.B.C", b'{"n":1}')).seq == 1
        shown = await page.until(ANSWER, "get_v1_changes")
        assert "unreadable" in shown
        await page.evaluate(CLICK, "get_v1_changes", ".stop")
        await page.until(
            "() => document.querySelector('#get_v1_changes .status').dataset.kind === 'stopped'"
        )
        assert page.complaints == []


async def test_what_is_long_is_shown_in_part_and_saved_whole(
    api: Client, database: Database, universe: None, tmp_path: Path
) -> None:
    async with database.connect() as connection:
        await connection.execute("UPDATE markets SET rules_primary = repeat('ab', 1000000)")
    async with browse(tmp_path) as page:
        await opened(page, api)
        await opened_operation(page, "get_v1_export")
        await page.evaluate(CLICK, "get_v1_export", ".send")
        assert (await page.until(STATUS, "get_v1_export")).startswith("200")
        shown = await page.evaluate(ANSWER, "get_v1_export")
        assert "the rest was not read" in shown
        assert len(shown) < 300_000
        await page.evaluate(CLICK, "get_v1_export", ".download")
        await page.until(
            "id => document.getElementById(id).querySelector('.status').textContent"
            ".includes('saved as markets.csv')",
            "get_v1_export",
        )
        saved = tmp_path / "markets.csv"
        # The page is done before the file has its name.
        async with asyncio.timeout(180):
            while True:
                if saved.exists():
                    break
                await asyncio.sleep(0.02)
        assert saved.stat().st_size > 7 * 2_000_000
        # It never was a part of the page.
        assert await page.evaluate("() => document.body.textContent.length") < 600_000
        assert page.complaints == []


@pytest.mark.usefixtures("universe")
async def test_snippets_do_what_the_page_does(api: Client, tmp_path: Path) -> None:
    async with browse(tmp_path) as page:
        await opened(page, api)
        for name, values in (
            ("get_v1_markets", {"series": "KXBTCD", "limit": "2"}),
            ("post_v1_markets_lookup", {}),
            ("get_v1_events", {"format": "csv", "include": "fees"}),
        ):
            await opened_operation(page, name, **values)
            answers = []
            for form, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
                snippet = await page.evaluate(SNIPPET, name, form)
                assert api.base in snippet
                assert api.key in snippet
                said = await run(*command, snippet)
                answers.append(said if "format" in values else json.loads(said))
            assert answers[0] == answers[1]
        hidden = await page.evaluate(
            """() => {
              const box = document.getElementById("show-key");
              box.checked = false;
              box.dispatchEvent(new Event("input", { bubbles: true }));
              return document.querySelector(".operation[open] .snippet").textContent;
            }"""
        )
        assert api.key not in hidden
        assert "SSMD_DATA_API_KEY" in hidden


async def test_its_policy_lets_nothing_run_but_its_own_files(api: Client) -> None:
    async with api.http.get(f"{api.base}/docs") as reply:
        page = await reply.text()
    named = re.findall(r'(?:src|href)="([\w./]+)"', page)
    assert len(named) >= 3
    for path in ("docs", *named):
        async with api.http.get(f"{api.base}/{path}") as reply:
            assert reply.status == 200
            if path.startswith("docs"):
                policy = reply.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
