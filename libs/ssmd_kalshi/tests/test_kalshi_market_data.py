"""Trades, tickers and books from the simulated exchange, which says what it sent."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from ssmd_common.book import Book
from ssmd_kalshi import marketdata
from ssmd_kalshi.books import Books
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.errors import BrokenReplyError, ForbiddenFilterError
from ssmd_kalshi.feed import (
    Ended,
    FeedEvent,
    Gap,
    GapReason,
    MarketData,
    MarketsAdded,
    MarketsRemoved,
    Refused,
)
from ssmd_kalshi.marketdata import BookDelta, BookSnapshot, Quote, Trade
from ssmd_kalshi.rest import KalshiRest
from ssmd_kalshi.retry import RetryPolicy
from ssmd_kalshi.socket import KalshiSocket, SocketPolicy
from ssmd_simulator.faults import Fault
from ssmd_simulator.server import Simulator

QUICK = RetryPolicy(base_seconds=0.01, cap_seconds=0.05)
POLICY = SocketPolicy(silence_seconds=30, reconnect=QUICK)
BOOK = "orderbook_delta"
Levels = dict[tuple[str, Decimal], Decimal]


def active(sim: Simulator, how_many: int) -> list[str]:
    now = sim.clock()
    found = [m.ticker for m in sim.universe.unsettled if m.status(now) == "active"]
    return found[:how_many]


class Oracle:
    """The books at every message, from the frames that the simulator made, lost ones included."""

    def __init__(self, sim: Simulator) -> None:
        self.connection = 0
        self.frames: list[dict[str, Any]] = []
        self._at: dict[tuple[int, int], tuple[str, Levels]] = {}
        self._books: dict[tuple[int, str], Levels] = {}
        self._seen: set[tuple[int, int, int]] = set()
        sim.hub.witnesses.append(self.note)

    def note(self, connection: int, fate: str, raw: bytes) -> None:
        if fate == "doubled":
            return
        self.connection = connection
        frame = json.loads(raw)
        self.frames.append(frame)
        msg, kind = frame.get("msg"), frame["type"]
        if kind not in ("orderbook_snapshot", BOOK):
            return
        key = (connection, msg["market_ticker"])
        if kind == "orderbook_snapshot":
            self._books[key] = {
                (side, Decimal(price)): Decimal(count)
                for side in ("yes", "no")
                for price, count in msg.get(f"{side}_dollars_fp", [])
            }
        else:
            book = self._books[key] = dict(self._books.get(key, {}))
            level = (msg["side"], Decimal(msg["price_dollars"]))
            book[level] = book.get(level, Decimal(0)) + Decimal(msg["delta_fp"])
            if not book[level]:
                del book[level]
        self._at[frame["sid"], frame["seq"]] = (msg["market_ticker"], self._books[key])

    def book_at(self, event: MarketData) -> Levels:
        assert event.sid is not None
        assert event.seq is not None
        ticker, levels = self._at[event.sid, event.seq]
        assert ticker == event.said.ticker
        return levels


def levels(book: Book) -> Levels:
    return {
        **{("yes", price): count for price, count in book.bids.items()},
        **{("no", price): count for price, count in book.asks.items()},
    }


async def until(
    socket: KalshiSocket, done: Callable[[FeedEvent], bool], *takers: Callable[[Any], Any]
) -> list[FeedEvent]:
    """The events up to and with the first for which `done` is true."""
    seen: list[FeedEvent] = []
    async with asyncio.timeout(180):
        async for event in socket:
            seen.append(event)
            for take in takers:
                take(event)
            if done(event):
                break
    return seen


async def drain(
    socket: KalshiSocket, is_all: Callable[[], bool], take: Callable[[Any], Any]
) -> None:
    """Take what still comes until that is all."""
    async with asyncio.timeout(180):
        while not is_all():
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    take(await anext(socket))


def whole(socket: KalshiSocket, books: Books, how_many: int) -> Callable[[FeedEvent], bool]:
    """Whether so many books are valid now."""
    return lambda _: (
        socket.subscribed and sum(books[ticker].valid for ticker in books.tickers) >= how_many
    )


@pytest.mark.parametrize("mode", ["used", "next", "last", "none"])
async def test_a_valid_book_is_the_exchanges_at_every_message(mode: Any) -> None:
    async with Simulator(
        budget=0, ws_auth=False, market_rate=1000, traded_markets=40, ack_numbers=mode,
        snapshot_ack=mode != "last", snapshot_delay=0.02,
    ) as sim:  # fmt: skip
        oracle, books, checked = Oracle(sim), Books(), Counter[str]()
        tickers = active(sim, 40)

        def check(event: FeedEvent) -> None:
            book = books.take(event)
            if book is not None and book.valid:
                assert isinstance(event, MarketData)
                assert levels(book) == oracle.book_at(event)
                checked[book.ticker] += 1
            checked[type(event).__name__] += 1

        async with KalshiSocket(
            sim.ws_url, channels=[Selection(BOOK, tickers[:20])], policy=POLICY
        ) as socket:
            await until(socket, whole(socket, books, 20), check)
            for fault in (
                Fault("gap", channel=BOOK, after=200, times=2),
                Fault("reorder", channel=BOOK, after=300, times=4),
                Fault("duplicate", channel=BOOK, after=20, times=9),
                Fault("gap", channel=BOOK, after=500, times=1),
            ):
                sim.faults.start(fault)
            socket.want(BOOK, add=tickers[20:], remove=tickers[:5])
            left = Counter[str]()

            def enough(event: FeedEvent) -> bool:
                left["seen"] += 1
                return left["seen"] > 900 and whole(socket, books, 35)(event)

            await until(socket, enough, check)
            sim.floor.set_rate(0)
            rest_books: dict[str, Any] = {}
            async with KalshiRest(sim.base_url, budget=10_000) as rest:
                rest_books = await rest.orderbooks(tickers[5:])
            last = sim.floor.made
            assert last
            shown = {ticker: Book(ticker) for ticker in tickers[5:]}
            for ticker, book in shown.items():
                book.begin(rest_books[ticker].yes, rest_books[ticker].no, yes_price=False)

            def as_shown(ticker: str) -> bool:
                return books[ticker].valid and levels(books[ticker]) == levels(shown[ticker])

            # REST says the same in a quiet moment.
            await drain(socket, lambda: all(map(as_shown, shown)), check)
        assert checked["Gap"] >= 3
        assert sorted(books.tickers) == sorted(shown)
        for ticker, book in shown.items():
            assert books[ticker].ladder() == book.ladder()


async def test_every_trade_and_ticker_comes_once_while_commands_are_answered() -> None:
    async with Simulator(budget=0, ws_auth=False, market_rate=800, traded_markets=100) as sim:
        oracle, began = Oracle(sim), int(sim.clock()) - 30
        tickers = active(sim, 100)
        heard: dict[str, list[Any]] = defaultdict(list)

        def take(event: FeedEvent) -> None:
            if isinstance(event, MarketData):
                heard[event.channel].append(event)
            elif isinstance(event, MarketsAdded | MarketsRemoved) and len(heard["answers"]) < 6:
                heard["answers"].append(event)
                at = 10 * len(heard["answers"])
                socket.want(BOOK, add=tickers[at : at + 9], remove=tickers[at - 10 : at - 5])

        channels = [Selection("trade"), Selection("ticker"), Selection(BOOK, tickers[:5])]
        async with KalshiSocket(sim.ws_url, channels=channels, policy=POLICY) as socket:
            await until(
                socket,
                lambda _: len(heard["answers"]) >= 6 and len(heard["trade"]) >= 100,
                take,
            )
            sim.floor.set_rate(0)

            def is_all() -> bool:
                of_books = socket.channel(BOOK)
                data = ("trade", "ticker", BOOK, "orderbook_snapshot")
                said = sum(frame["type"] in data for frame in oracle.frames)
                taken = sum(len(heard[of]) for of in ("trade", "ticker", BOOK))
                is_quiet = set(of_books.held) == set(of_books.wanted) and not of_books.awaited
                return is_quiet and taken == said

            await drain(socket, is_all, take)
        sent = defaultdict(list)
        for frame in oracle.frames:
            sent[frame["type"]].append(frame)
        assert [e.said.trade_id for e in heard["trade"]] == [
            frame["msg"]["trade_id"] for frame in sent["trade"]
        ]
        assert [json.loads(e.body) for e in heard["ticker"]] == [f["msg"] for f in sent["ticker"]]
        assert len(heard[BOOK]) == len(sent[BOOK]) + len(sent["orderbook_snapshot"])
        assert len(sent["ok"]) >= 5
        del heard["answers"]
        frames = [event.frame for events in heard.values() for event in events]
        assert len(set(frames)) == len(frames)
        assert max(frames) <= len(oracle.frames)
        async with KalshiRest(sim.base_url, budget=10_000) as rest:
            rows = [
                marketdata.trade_of_rest(row)
                async for page in rest.trades(min_ts=began)
                for row in page.items
            ]
        said = {event.said.trade_id: event.said for event in heard["trade"]}
        found = {row.trade_id: row for row in rows}
        assert said.keys() <= found.keys()
        for trade_id, trade in said.items():
            one = found[trade_id]
            assert (one.price, one.count, one.taker_side, one.block, one.ticker) == (
                trade.price, trade.count, trade.taker_side, trade.block, trade.ticker
            )  # fmt: skip
            assert abs((one.exchange_time - trade.exchange_time).total_seconds()) < 0.001


async def test_overflow_limit_and_rate() -> None:
    async with Simulator(ws_auth=False, market_rate=200, market_limit=15, command_rate=5) as sim:
        tickers = active(sim, 40)
        books = Books()
        selection = Selection(BOOK, tickers)
        async with KalshiSocket(sim.ws_url, channels=[selection], policy=POLICY) as socket:
            full = lambda e: isinstance(e, Refused)  # noqa: E731
            seen = await until(socket, full, books.take)
            refused = seen[-1]
            assert isinstance(refused, Refused)
            assert (refused.code, refused.tickers) == (26, tuple(tickers[15:]))
            assert socket.channel(BOOK).held == set(tickers[:15])
            socket.want(BOOK, remove=tickers[14:])
            await until(socket, whole(socket, books, 14), books.take)
            sim.faults.start(Fault("overflow", channel=BOOK, times=1))
            ended = await until(socket, lambda e: isinstance(e, Ended), books.take)
            assert isinstance(ended[-1], Ended)
            assert ended[-1].code == 25
            assert not any(books[ticker].valid for ticker in books.tickers)
            again = await until(socket, whole(socket, books, 14), books.take)
            gaps = [event for event in again if isinstance(event, Gap)]
            assert gaps[0].reason is GapReason.TERMINAL_ERROR
            assert sum(books[ticker].valid for ticker in books.tickers) == 14


async def test_a_half_open_connection_is_replaced() -> None:
    policy = SocketPolicy(silence_seconds=1.0, reconnect=QUICK)
    async with Simulator(ws_auth=False, market_rate=100, ping_seconds=0.2) as sim:
        books, tickers = Books(), active(sim, 10)
        channels = [Selection("trade"), Selection(BOOK, tickers)]
        async with KalshiSocket(sim.ws_url, channels=channels, policy=policy) as socket:
            await until(socket, whole(socket, books, 10), books.take)
            sim.hub.half_open()
            lost = await until(
                socket, lambda e: isinstance(e, Gap) and e.channel == BOOK, books.take
            )
            gaps = {event.channel: event for event in lost if isinstance(event, Gap)}
            assert {gap.reason for gap in gaps.values()} == {GapReason.SILENCE}
            assert gaps["trade"].since is not None
            await until(socket, whole(socket, books, 10), books.take)


# --- formats --------------------------------------------------------------------------------------


def test_prices_are_exact_and_have_one_form() -> None:
    body = (
        b'{"trade_id":"t","market_ticker":"M","yes_price_dollars":"0.360","no_price_dollars":"0.640",'
        b'"count_fp":"136.5","taker_side":"no","taker_outcome_side":"yes","is_block_trade":true,'
        b'"ts":1669149841,"ts_ms":1669149841123,"new_field":{}}'
    )
    trade = marketdata.read("trade", body)
    assert isinstance(trade, Trade)
    assert (trade.price, trade.count, trade.taker_side, trade.block) == (
        "0.3600", "136.50", "yes", True
    )  # fmt: skip
    assert trade.exchange_time is not None
    assert trade.exchange_time.isoformat() == "2022-11-22T20:44:01.123000+00:00"
    for text, read in (
        ("0.12345", "0.12345"),
        ("1", "1.0000"),
        ("0.0010", "0.0010"),
        ("1e-2", "0.0100"),
    ):
        said = marketdata.read(
            "ticker", b'{"market_ticker":"M","price_dollars":"%b"}' % text.encode()
        )
        assert isinstance(said, Quote)
        assert said.price == read
    for text, read in (("-54.00", "-54.00"), ("0.001", "0.001"), ("007.00", "7.00"), ("5", "5.00")):
        said = marketdata.read(
            BOOK,
            b'{"market_ticker":"M","price_dollars":"0.960","delta_fp":"%b","side":"no"}'
            % text.encode(),
        )
        assert isinstance(said, BookDelta)
        assert (said.price, said.delta, said.side) == ("0.9600", read, "no")


def test_documented_examples_are_read(kalshi_specification: dict[str, Any]) -> None:
    kinds = {
        "trade": ("trade", Trade),
        "ticker": ("ticker", Quote),
        "orderbookSnapshot": ("orderbook_snapshot", BookSnapshot),
        "orderbookDelta": (BOOK, BookDelta),
    }
    for name, (kind, expected) in kinds.items():
        for example in kalshi_specification["components"]["messages"][name]["examples"]:
            payload = example["payload"]
            assert payload["type"] == kind
            said = marketdata.read(kind, json.dumps(payload["msg"], default=str).encode())
            assert isinstance(said, expected)
            assert said.ticker == payload["msg"]["market_ticker"]


@pytest.mark.parametrize("name", ["trade_id", "market_ticker", "yes_price_dollars", "count_fp"])
@pytest.mark.parametrize("value", [None, "", [], {}, True, "NaN", "x" * 200])
def test_a_trade_without_what_it_means_is_unreadable(name: str, value: Any) -> None:
    whole = {"trade_id": "t", "market_ticker": "M", "yes_price_dollars": "0.3", "count_fp": "1.00"}
    if name in ("trade_id", "market_ticker") and value == "NaN":
        return
    with pytest.raises(BrokenReplyError):
        marketdata.read("trade", json.dumps({**whole, name: value}).encode())
    del whole[name]
    with pytest.raises(BrokenReplyError):
        marketdata.read("trade", json.dumps(whole).encode())


async def test_order_books_are_asked_for_in_hundreds() -> None:
    async with KalshiRest("http://127.0.0.1:1/trade-api/v2") as rest:
        for tickers in ([], ["M"] * 101, ["M", ""]):
            with pytest.raises(ForbiddenFilterError, match="1 to 100"):
                await rest.orderbooks(tickers)
        with pytest.raises(ForbiddenFilterError, match="limit"):
            rest.trades(limit=1001)
        with pytest.raises(ForbiddenFilterError, match="min_ts"):
            rest.historical_trades(min_ts=5, max_ts=5)
