"""Books of chosen markets: asked for as markets open and end in the secmaster, and whole."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest

from ssmd_simulator.faults import Fault
from ssmd_stack.database import Database
from ssmd_stream.market.messages import BookMessage, Message, SessionRecord, decoded
from ssmd_stream.reader import reading
from ssmd_stream.stream import Stream

from .conftest import Market, insert_parents
from .connector_process import Process, leader_of, process

BOOKS = 12


class Shelf:
    """A connector that keeps books, with cdc and PostgreSQL behind it."""

    def __init__(self, market: Market, database: Database, scope: Path) -> None:
        self.market = market
        self.database = database
        self.scope = scope
        now = market.sim.clock()
        unsettled = market.sim.universe.unsettled
        self.markets = [m for m in unsettled if m.status(now) == "active"][:BOOKS]
        self.tickers = [m.ticker for m in self.markets]

    async def write(self, status: str, tickers: Iterable[str]) -> None:
        """What sync and lifecycle say of markets."""
        async with self.database.connect() as connection:
            await connection.execute(
                "UPDATE markets SET status = %s WHERE ticker = ANY(%s)", (status, list(tickers))
            )

    async def fill(self) -> None:
        """The markets, listed and not yet in trading."""
        async with self.database.connect() as connection:
            for market in self.markets:
                await insert_parents(connection, market)
                await connection.execute(
                    "INSERT INTO markets (ticker, event_ticker, series_ticker, status, observed_at)"
                    " VALUES (%s, %s, %s, 'open', now())",
                    (market.ticker, market.event.ticker, market.event.series.ticker),
                )

    def subscribed(self) -> set[str]:
        """The books that the exchange sends now."""
        return set(self.all_subscribed())

    def all_subscribed(self) -> list[str]:
        """The same with each connection's."""
        return [
            ticker
            for connection in self.market.sim.hub.connections
            for to in connection.subscriptions.values()
            if to.channel == "orderbook_delta"
            for ticker in to.markets or ()
        ]

    async def stored(self, shard: int = 0) -> list[Message]:
        client = await nats.connect(self.market.url)
        try:
            stream = Stream(client, f"MARKET_BOOKS_{shard}")
            info = await stream.info()
            found: list[Message] = []
            if not info.messages:
                return found
            async with reading(stream, info.first_sequence) as reader:
                while len(found) < info.messages:
                    found += [decoded(one.payload) for one in await reader.batch(1000, 1.0)]
            return found
        finally:
            await client.close()

    async def records(self, what: str) -> list[SessionRecord]:
        stored = await self.stored()
        return [m for m in stored if isinstance(m, SessionRecord) and m.what == what]

    async def until_told(self, what: str, tickers: Iterable[str]) -> None:
        """Wait until records of this kind name all of them."""
        async with asyncio.timeout(180):
            missing = set(tickers)
            while missing:
                missing -= {t for r in await self.records(what) for t in r.tickers or ()}
                await asyncio.sleep(0.1)

    async def until_whole(self, tickers: Iterable[str], shard: int = 0) -> list[Message]:
        """Nothing more is traded, and wait until these books of the stream are the exchange's:
        what the stream holds."""
        self.market.sim.floor.set_rate(0)
        truth = {ticker: self.truth(ticker) for ticker in tickers}
        try:
            async with asyncio.timeout(180):
                while True:
                    stored = await self.stored(shard)
                    found = self.books(stored)[0]
                    wrong = [t for t, book in truth.items() if found.get(t) != book]
                    if not wrong:
                        return stored
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"these books are never the exchange's: {wrong}") from None

    @staticmethod
    def books(stored: list[Message]) -> tuple[dict[str, Any], list[BookMessage]]:
        """The books at the end, by ticker: levels of each side."""
        found: dict[str, Any] = {}
        messages = [m for m in stored if isinstance(m, BookMessage)]
        for message in messages:
            if message.side is None:
                found[message.ticker] = {
                    "yes": dict(message.yes or ()),
                    "no": dict(message.no or ()),
                }
            elif message.ticker in found:
                levels = found[message.ticker][message.side]
                count = float(levels.get(message.price, 0)) + float(message.delta or 0)
                levels[message.price] = f"{count:.2f}"
                if round(count, 2) <= 0:
                    del levels[message.price]
        return found, messages

    def is_as_sent(self, stored: list[Message]) -> None:
        """Every book that the stream has is at each message the exchange's: of each session it is
        what one connection was sent, from a snapshot on, without a hole until the next snapshot."""
        runs: dict[tuple[str, str], list[list[Any]]] = {}
        for message in stored:
            if not isinstance(message, BookMessage):
                continue
            of = runs.setdefault((message.session, message.ticker), [])
            if message.side is None:
                of.append([])
            assert of, f"{message.ticker} begins with a change"
            of[-1].append([message.sid, message.seq, json.loads(bytes(message.msg))])
        sent = [
            {
                ticker: [
                    [f["sid"], f["seq"], f["msg"]]
                    for f in frames
                    if f["type"].startswith("orderbook_") and f["msg"]["market_ticker"] == ticker
                ]
                for ticker in self.tickers
            }
            for frames in self.market.by_connection.values()
        ]
        for (_, ticker), of in runs.items():
            for run in of:
                # Two that subscribe together are sent the same snapshot.
                said = [each[ticker] for each in sent if run[0] in each[ticker]]
                assert any(one[(at := one.index(run[0])) : at + len(run)] == run for one in said)

    def truth(self, ticker: str) -> Any:
        """The simulator's book, NO's levels as what YES costs there."""
        trading = self.market.sim.floor.of(self.market.sim.universe.markets[ticker])
        return {
            "yes": {f"{p / 1e4:.4f}": f"{n / 100:.2f}" for p, n in trading.yes.items()},
            "no": {f"{1 - p / 1e4:.4f}": f"{n / 100:.2f}" for p, n in trading.no.items()},
        }


@pytest.fixture
async def shelf(market: Market, database: Database, tmp_path: Path) -> AsyncIterator[Shelf]:
    made = Shelf(market, database, tmp_path / "scope.yaml")
    made.scope.write_text("books: [{categories: [Crypto]}]\n")
    await made.fill()
    slot = {"CDC_SLOT": f"s_{time.time_ns()}", "CDC_HEARTBEAT_SECONDS": "0.5"}
    async with process(market, database, tmp_path, "cdc", **slot) as cdc:
        await cdc.until("leading")
        yield made
        await cdc.end()


@asynccontextmanager
async def keeping(shelf: Shelf, folder: Path, **settings: str) -> AsyncIterator[Process]:
    given = {"CONNECTOR_SCOPE_FILE": str(shelf.scope), **settings}
    async with process(shelf.market, shelf.database, folder, **given) as connector:
        await connector.until("leading")
        yield connector


async def test_books_follow_the_secmaster_and_are_whole(shelf: Shelf, tmp_path: Path) -> None:
    sim = shelf.market.sim
    async with keeping(shelf, tmp_path) as connector:
        assert not shelf.subscribed()
        # Nothing looks from time to time: a change that was not followed is never subscribed.
        await shelf.write("active", shelf.tickers)
        await shelf.market.until(lambda: shelf.subscribed() == set(shelf.tickers))
        ended = shelf.tickers[:3]
        await shelf.write("closed", ended)
        await shelf.market.until(lambda: shelf.subscribed() == set(shelf.tickers[3:]))
        sim.faults.start(Fault("gap", channel="orderbook_delta", times=3))
        await shelf.until_told("resnapshot", shelf.tickers[3:])
        shelf.scope.write_text("books: [{categories: [Crypto], most_traded: 5}, {tags: [Nope]}]\n")
        await shelf.market.until(lambda: len(shelf.subscribed()) == 5)
        await connector.says("'Nope'")
        shelf.scope.write_text("bookz: []\n")
        await connector.says("bookz")
        # A connection may have been made anew, and then asks for them again.
        await shelf.market.until(lambda: len(shelf.subscribed()) == 5)
        await shelf.until_whole(shelf.subscribed())
        assert await connector.end() == 0
    _, messages = shelf.books(await shelf.stored())
    sent = [f["msg"] for f in shelf.market.sent if f["type"].startswith("orderbook_")]
    assert [json.loads(bytes(m.msg)) for m in messages] == sent
    assert all(m.series and m.event for m in messages)
    added = [t for r in await shelf.records("added") for t in r.tickers or ()]
    assert sorted(added) == sorted(shelf.tickers)
    removed = [t for r in await shelf.records("removed") for t in r.tickers or ()]
    assert set(ended) <= set(removed)
    gaps = [r for r in await shelf.records("gap") if (r.reason or "").startswith("sequence")]
    assert gaps


@pytest.mark.parametrize("market", [{"market_limit": 5}], indirect=True)
async def test_what_one_connection_does_not_take_goes_to_another(
    shelf: Shelf, tmp_path: Path
) -> None:
    await shelf.write("active", shelf.tickers)
    async with keeping(shelf, tmp_path, CONNECTOR_BOOK_CONNECTIONS="2") as connector:
        await shelf.market.until(lambda: len(shelf.subscribed()) == 10)
        await connector.says("2 books found no place")
        # One that ends makes room for one that waits.
        await shelf.write("closed", list(shelf.subscribed())[:1])
        await shelf.market.until(lambda: len(shelf.subscribed()) == 10)
        stored = await shelf.until_whole(shelf.subscribed())
        assert await connector.end() == 0
    assert len({m.session for m in shelf.books(stored)[1]}) == 2


async def test_a_standby_hears_the_books_and_takes_them_over(shelf: Shelf, tmp_path: Path) -> None:
    await shelf.write("active", shelf.tickers)
    market = shelf.market
    scope = {"CONNECTOR_SCOPE_FILE": str(shelf.scope)}
    async with (
        process(market, shelf.database, tmp_path, **scope) as one,
        process(market, shelf.database, tmp_path, **scope) as other,
    ):
        leader = await leader_of([one, other])
        standby = other if leader is one else one
        await standby.until("standby")
        books = 2 * len(shelf.tickers)
        await market.until(lambda: len(shelf.all_subscribed()) == books)
        heard = len(market.sent)
        await market.until(lambda: len(market.sent) > heard + 500)
        opened = dict(market.by_connection)
        await leader.kill()
        await standby.until("leading")
        heard = len(market.sent)
        await market.until(lambda: len(market.sent) > heard + 500)
        await shelf.until_whole(shelf.tickers)
        # It was connected and subscribed before: nothing was opened for it.
        assert market.by_connection.keys() == opened.keys()
        assert await standby.end() == 0
    stored = await shelf.stored()
    shelf.is_as_sent(stored)
    _, messages = shelf.books(stored)
    [takeover] = [r for r in await shelf.records("takeover") if r.tickers]
    assert sorted(takeover.tickers or ()) == sorted(shelf.tickers)
    [gap] = [r for r in await shelf.records("gap") if r.reason == "takeover" and r.since != r.until]
    assert gap.session == takeover.session
    before = [m for m in messages if m.session != takeover.session]
    assert gap.since >= before[-1].received_at  # type: ignore[operator]
    begun = [r for r in await shelf.records("resnapshot") if r.session == takeover.session]
    assert {t for r in begun for t in r.tickers or ()} == set(shelf.tickers)
