"""Trades, quote and book on a market's page: what there is, what there is not, and as it comes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from api_testbed import Client
from made_market_data import Maker, make_streams, publish
from nats.aio.client import Client as NatsClient
from ui_pages import MARKET, opened, reading, shown, words

from ssmd_stack.nats import NatsServer

pytestmark = pytest.mark.usefixtures("universe")

PAGE = f"/ui/markets/{MARKET}"


@pytest_asyncio.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[NatsClient]:
    connected = await nats.connect(nats_server.url)
    yield connected
    await connected.close()


def filed(message: Any) -> Any:
    """As the secmaster has it."""
    message.series, message.event = "KXBTCD", "KXBTCD-26FEB03"
    return message


async def captured(api: Client) -> str:
    """What the page says of market data; it may not have waited for a connection."""
    async with asyncio.timeout(180):
        while "has not answered yet" in (said := words((await shown(api, PAGE)).text)):
            pass
    return said[said.index("closes in") : said.index(" Life ")]


async def test_what_is_not_there_is_said_plainly(
    streaming: Client, client: NatsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = await captured(streaming)
    assert "No books are captured: there is no stream MARKET_BOOKS_0" in said
    assert said.count("No market data are captured:") == 1
    # Nothing is followed that is not there.
    assert "data-follow" not in (await shown(streaming, PAGE)).text
    await make_streams(client, shards=1)
    assert "The stream holds no message." in await captured(streaming)
    maker, books = Maker(), Maker("b")
    await publish(client, maker.trade("OTHER"))
    await publish(client, books.snapshot("OTHER", [("0.4000", "5.00")], []), shard=0)
    said = await captured(streaming)
    assert "No trade of it is in the stream. It begins at" in said
    assert "No quote of it is in the stream." in said
    assert "the connector's scope (CONNECTOR_SCOPE_FILE) does not have this market" in (
        said.replace("&#39;", "'")
    )
    await publish(
        client,
        books.snapshot(MARKET, [("0.4000", "5.00")], []),
        books.record("gap", of_channel="orderbook_delta"),
        shard=0,
    )
    await publish(client, filed(maker.trade(MARKET)))
    monkeypatch.setattr("ssmd_api.marketdata.STILL_SECONDS", -1.0)
    said = await captured(streaming)
    assert "May not be the exchange" in said
    assert "no snapshot has come yet" in said
    assert "nobody asks 40 5" in said
    assert "Nothing at all has been captured for 0 s: connector does not publish." in said


async def test_without_nats_the_rest_is_shown(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssmd_api.feed.CONNECT_SECONDS", 0.2)
    said = await captured(api)
    assert said.count("NATS does not answer: what was captured cannot be read now.") == 1
    assert (await shown(api, f"{PAGE}/captured")).status == 200
    assert (await shown(api, f"{PAGE}/stream")).status == 503
    for part in ("captured", "stream"):
        assert (await shown(api, f"/ui/markets/NOTHING/{part}")).status == 404


@pytest.mark.usefixtures("js")
async def test_what_is_captured_is_shown_as_it_comes(
    streaming: Client, client: NatsClient, tmp_path: Path
) -> None:
    await make_streams(client, shards=1)
    maker, books = Maker(), Maker("b")
    await publish(client, filed(maker.trade(MARKET)), filed(maker.ticker(MARKET, yes_bid="0.4000")))
    levels = [(f"0.{40 - number}00", "5.00") for number in range(10)]
    await publish(client, books.snapshot(MARKET, levels, [("0.4450", "2.00")]), shard=0)
    text = "text => document.getElementById('captured')?.textContent.replace(/\\s+/g, ' ')"
    has = f"part => ({text})().includes(part)"
    async with reading(streaming, tmp_path) as page:
        await opened(page, f"{streaming.base}{PAGE}?unit=dollars")
        await page.until(has, "spread 0.045")
        await page.until(has, "2 lower")
        await page.until("() => document.getElementById('live').dataset.state === 'live'")
        await page.evaluate("() => document.getElementById('raw').open = true")
        trade = filed(maker.trade(MARKET))
        await publish(client, trade)
        await page.until("id => document.getElementById(id) !== null", f"t-{trade.trade_id}")
        await publish(client, filed(maker.ticker(MARKET, yes_bid="0.4125")))
        await page.until(has, "bid0.4125")
        await publish(client, books.delta(MARKET, "no", "0.4450", "-2.00"), shard=0)
        await page.until(has, "nobody asks")
        # The rest of the page was not read anew for it, and what was opened is open.
        assert await page.evaluate("() => document.getElementById('raw').open")
        assert page.complaints == []
