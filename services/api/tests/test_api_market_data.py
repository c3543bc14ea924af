"""Trades, quotes and books over HTTP, from streams as connector fills them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import nats
import pytest
import pytest_asyncio
from api_testbed import Client
from made_market_data import Maker, make_streams, publish
from nats.aio.client import Client as NatsClient
from test_api_openapi import assert_described

from ssmd_client import Client as Secmaster
from ssmd_client import NotFound
from ssmd_stack.nats import NatsServer

pytestmark = pytest.mark.usefixtures("universe")

TICKER = "KXBTCD-26FEB03-T97500.99"
PATH = f"/v1/markets/{TICKER}"


@pytest_asyncio.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[NatsClient]:
    connected = await nats.connect(nats_server.url)
    yield connected
    await connected.close()


def of_market(message: Any) -> Any:
    """Filed as the secmaster has it."""
    if message.series is not None:
        message.series, message.event = "KXBTCD", "KXBTCD-26FEB03"
    return message


async def described(api: Client, path: str, status: int = 200) -> Any:
    """The reply, which is as the OpenAPI document says."""
    reply = await api.get(path)
    assert reply.status == status, reply
    route = path.partition("?")[0].replace(TICKER, "{ticker}").replace("NOWHERE", "{ticker}")
    assert_described("GET", route, status, reply.json)
    if status == 200:
        assert reply.headers["X-Ssmd-Source"] == "stream"
    return reply.json


async def test_what_is_missing_is_said(streaming: Client, client: NatsClient) -> None:
    for part in ("trades", "ticker", "book"):
        problem = await described(streaming, f"/v1/markets/NOWHERE/{part}", 404)
        assert problem["type"] == "urn:ssmd:problem:not-found"
        problem = await described(streaming, f"{PATH}/{part}", 404)
        assert problem["type"] == "urn:ssmd:problem:not-captured"
        name = "MARKET_BOOKS_0" if part == "book" else "MARKET_DATA"
        assert name in problem["detail"]
    await make_streams(client, shards=1)
    for part, name, empty in (("trades", "trades", []), ("ticker", "quote", None)):
        found = await described(streaming, f"{PATH}/{part}")
        assert found[name] == empty
        assert found["capture"] == {
            "stream": "MARKET_DATA", "since": None, "until": None,
            "note": "the stream holds no message",
        }  # fmt: skip
    await publish(client, Maker().trade("OTHER"))
    found = await described(streaming, f"{PATH}/trades")
    assert found["capture"]["note"] == f"nothing of {TICKER} is in the stream"
    since = datetime.fromisoformat(found["capture"]["since"])
    assert datetime.now(UTC) - since < timedelta(minutes=5)
    found = await described(streaming, f"{PATH}/book")
    assert found["book"] is None


async def test_trades_are_paged_newest_first_and_each_comes_once(
    streaming: Client, client: NatsClient
) -> None:
    await make_streams(client)
    maker = Maker()
    # From before the secmaster knew it, and between those of others.
    made = [of_market(maker.trade(TICKER, known=number > 20)) for number in range(60)]
    for trade in made:
        await publish(client, trade, maker.trade("KXBTCD-26FEB03-T97500"))
    found, path = [], f"{PATH}/trades?limit=25"
    for page in range(3):
        reply = await described(streaming, path)
        found += reply["trades"]
        assert (reply["cursor"] is None) == (page == 2)
        if page == 0:
            # What comes meanwhile shifts no page.
            await publish(client, of_market(maker.trade(TICKER)))
            assert reply["trades"][0]["price"] == "0.4200"
        path = f"{PATH}/trades?limit=25&cursor={reply['cursor']}"
    assert [row["trade_id"] for row in found] == [trade.trade_id for trade in reversed(made)]
    assert {row["source"] for row in found} == {"ws"}
    reply = await streaming.get(f"/v1/markets/KXOLD-25-A/trades?cursor={path.rpartition('=')[2]}")
    assert reply.status in (400, 404)
    first = await streaming.get(f"{PATH}/trades?limit=1")
    assert int(first.headers["X-Ssmd-Age"]) >= 0
    assert 'rel="next"' in first.headers["Link"]


async def test_a_quote_is_the_last_one_wherever_it_is_filed(
    streaming: Client, client: NatsClient
) -> None:
    await make_streams(client)
    maker = Maker()
    for known, bid in ((False, "0.4000"), (True, "0.4100")):
        await publish(client, of_market(maker.ticker(TICKER, known=known, yes_bid=bid)))
        found = await described(streaming, f"{PATH}/ticker")
        assert found["quote"]["yes_bid"] == bid
        assert found["quote"]["yes_ask"] is None
        assert found["capture"]["note"] is None


async def test_a_book_is_the_snapshot_with_what_came_after_it(
    streaming: Client, client: NatsClient
) -> None:
    await make_streams(client, shards=2)
    maker = Maker()
    await publish(
        client,
        maker.snapshot(TICKER, [("0.4000", "5.00")], [("0.4500", "2.00")]),
        maker.delta(TICKER, "yes", "0.4100", "1.50"),
        maker.delta(TICKER, "no", "0.4500", "-2.00"),
        maker.delta(TICKER, "no", "0.4400", "9.00"),
        maker.record("count"),
        shard=1,
    )
    found = await described(streaming, f"{PATH}/book")
    book = found["book"]
    assert book["bids"] == [
        {"price": "0.4100", "count": "1.50"}, {"price": "0.4000", "count": "5.00"},
    ]  # fmt: skip
    assert book["asks"] == [{"price": "0.4400", "count": "9.00"}]
    assert (book["valid"], book["doubt"]) == (True, None)
    assert book["snapshot_at"] < book["received_at"] < book["confirmed_at"]
    assert found["capture"]["stream"] == "MARKET_BOOKS_1"
    await publish(client, maker.record("gap", of_channel="orderbook_delta"), shard=1)
    book = (await described(streaming, f"{PATH}/book"))["book"]
    assert not book["valid"]
    assert "no snapshot has come yet" in book["doubt"]


async def test_without_nats_it_is_a_503_and_the_past_is_refused(api: Client) -> None:
    for part in ("trades", "ticker", "book"):
        assert (await api.get(f"{PATH}/{part}")).status == 503
        reply = await api.get(f"{PATH}/{part}?as_of=-1h")
        assert reply.status == 400
        assert "market data" in reply.json["detail"]


async def test_the_plain_client_reads_them(streaming: Client, client: NatsClient) -> None:
    await make_streams(client, shards=1)
    maker, books = Maker(), Maker("b")
    trades = [of_market(maker.trade(TICKER)) for _ in range(3)]
    await publish(client, *trades, of_market(maker.ticker(TICKER, yes_bid="0.4100")))
    await publish(client, books.snapshot(TICKER, [("0.4000", "5.00")], []), shard=0)

    def asked() -> None:
        with Secmaster(streaming.base, streaming.key) as secmaster:
            found = secmaster.market_data.trades(TICKER).all()
            assert [trade.trade_id for trade in found] == [t.trade_id for t in reversed(trades)]
            assert found[0].price == Decimal("0.42")
            quote = secmaster.market_data.quote(TICKER)
            assert quote.quote is not None
            assert quote.quote.yes_bid == Decimal("0.41")
            assert quote.capture.since is not None
            book = secmaster.market_data.book(TICKER).book
            assert book is not None
            assert [(level.price, level.count) for level in book.bids] == [(Decimal("0.4"), 5)]
            with pytest.raises(NotFound):
                secmaster.market_data.book("NOWHERE")

    await asyncio.to_thread(asked)
