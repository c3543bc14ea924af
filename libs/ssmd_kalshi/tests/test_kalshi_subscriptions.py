"""Wishes, commands, acknowledgements and data in any order, against a model of the exchange."""

import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmd_common.book import Book
from ssmd_kalshi.books import Books
from ssmd_kalshi.channels import Selection
from ssmd_kalshi.errors import SubscribeRefusedError
from ssmd_kalshi.feed import (
    Ended,
    Gap,
    GapReason,
    MarketData,
    MarketsAdded,
    MarketsRemoved,
    Refused,
    SnapshotsAsked,
    Unreadable,
)
from ssmd_kalshi.subscriptions import Subscriptions

NOW = datetime(2026, 11, 29, tzinfo=UTC)
BOOK = "orderbook_delta"
TICKERS = [f"M{n}" for n in range(8)]
Levels = dict[str, int]


@dataclass
class Model:
    """An exchange with one book subscription; acknowledgements and data wait in two queues."""

    acks_mode: str = "used"
    limit: int = 100
    unknown: frozenset[str] = frozenset()
    says_which: bool = True
    sids: int = 0
    sid: int | None = None
    seq: int = 0
    markets: dict[str, None] = field(default_factory=dict)
    books: dict[str, Levels] = field(default_factory=lambda: {t: {"0.4000": 5} for t in TICKERS})
    acks: deque[dict[str, Any]] = field(default_factory=deque)
    data: deque[tuple[dict[str, Any], Levels]] = field(default_factory=deque)
    commands: list[dict[str, Any]] = field(default_factory=list)
    refuse_next: int | None = None

    def command(self, text: str) -> None:
        command = json.loads(text)
        self.commands.append(command)
        number, params = command["id"], command["params"]
        tickers = params.get("market_tickers", [])
        if self.refuse_next is not None:
            return self.error(number, self.refuse_next)
        match command["cmd"], params.get("action"):
            case "subscribe", _:
                assert self.sid is None
                assert params["use_yes_price"] is True
                if error := self.refusal(tickers):
                    return self.error(number, *error)
                self.sids += 1
                self.sid, self.seq, self.markets = self.sids, 0, dict.fromkeys(tickers)
                msg = {"channel": BOOK, "sid": self.sid}
                self.acks.append({"id": number, "type": "subscribed", "msg": msg})
                self.snapshots(tickers)
            case "unsubscribe", _:
                assert params["sids"] == [self.sid]
                self.ack(number, "unsubscribed")
                self.sid = None
            case _, "add_markets":
                new = [t for t in tickers if t not in self.markets]
                if error := self.refusal(new, len(self.markets)):
                    return self.error(number, *error)
                self.markets.update(dict.fromkeys(new))
                self.ack(number, "ok")
                self.snapshots(new)
            case _, "delete_markets":
                for ticker in tickers:
                    del self.markets[ticker]
                assert self.markets, "the last market was taken out of a list"
                self.ack(number, "ok")
            case _, "get_snapshot":
                self.ack(number, "ok")
                self.snapshots(tickers)
        return None

    def refusal(self, tickers: list[str], held: int = 0) -> tuple[int, str] | None:
        for ticker in tickers:
            if ticker in self.unknown:
                return 16, ticker if self.says_which else ""
        return (26, "") if held + len(tickers) > self.limit else None

    def error(self, number: int, code: int, ticker: str = "") -> None:
        self.refuse_next = None
        msg = {"code": code, "msg": "no", **({"market_ticker": ticker} if ticker else {})}
        self.acks.append({"id": number, "type": "error", "msg": msg})

    def ack(self, number: int, kind: str) -> None:
        frame: dict[str, Any] = {"id": number, "sid": self.sid, "type": kind}
        if self.acks_mode == "used":
            self.seq += 1
        if self.acks_mode != "none":
            frame["seq"] = self.seq + (self.acks_mode == "next")
        self.acks.append(frame)

    def say(self, kind: str, ticker: str, **msg: Any) -> None:
        self.seq += 1
        body = {"market_ticker": ticker, **msg}
        frame = {"type": kind, "sid": self.sid, "seq": self.seq, "msg": body}
        self.data.append((frame, dict(self.books[ticker])))

    def snapshots(self, tickers: list[str]) -> None:
        for ticker in tickers:
            levels = [[price, f"{n}.00"] for price, n in self.books[ticker].items()]
            self.say("orderbook_snapshot", ticker, yes_dollars_fp=levels)

    def change(self, ticker: str, price: str, delta: int) -> None:
        levels = self.books[ticker]
        delta = max(delta, -levels.get(price, 0)) or 1
        levels[price] = levels.get(price, 0) + delta
        if not levels[price]:
            del levels[price]
        if self.sid is not None and ticker in self.markets:
            self.say(BOOK, ticker, price_dollars=price, delta_fp=f"{delta}.00", side="yes")


@dataclass
class World:
    """A client and a model; `events` is what the consumer was told."""

    model: Model
    client: Subscriptions = field(
        default_factory=lambda: Subscriptions([Selection(BOOK, markets=())])
    )
    books: Books = field(default_factory=Books)
    events: list[Any] = field(default_factory=list)
    delivered: int = 0
    clock: float = 0.0
    step: float = 6.0
    asked_at: float = 0.0
    """When the last command went out."""

    def pump(self) -> None:
        while command := self.client.command(self.clock, self.clock + 15):
            self.asked_at = self.clock
            self.model.command(command)

    def deliver(self, queue: str) -> None:
        """The next acknowledgement, or the next message, arrives.

        What has a number of the same count comes in its order: they are sent as they are numbered.
        """
        model = self.model
        if model.acks_mode == "used" and model.acks and model.data and "seq" in model.acks[0]:
            queue = "ack" if model.acks[0]["seq"] < model.data[0][0]["seq"] else "data"
        if queue == "ack" and self.model.acks:
            self.take(self.model.acks.popleft())
        elif queue == "data" and self.model.data:
            frame, truth = self.model.data.popleft()
            self.delivered += 1
            self.take(frame)
            ticker = frame["msg"]["market_ticker"]
            if ticker in self.books and self.books[ticker].valid:
                assert held(self.books[ticker]) == truth

    def take(self, frame: dict[str, Any]) -> None:
        raw = json.dumps(frame).encode()
        assert self.client.take(raw, NOW, self.clock) is None
        while self.client.events:
            event = self.client.events.popleft()
            self.books.take(event)
            self.events.append(event)

    def settle(self) -> None:
        """Everything arrives, and time passes, until there is nothing more to do."""
        for _ in range(200):
            self.settle_for_now()
            channel = self.client[BOOK]
            if channel.complete and not channel.awaited and not channel.doubtful:
                return
            self.clock += self.step
        raise AssertionError(f"never settled: {self.client[BOOK]}")

    def settle_for_now(self) -> None:
        """Everything arrives."""
        self.pump()
        while self.model.acks or self.model.data:
            self.deliver("data" if self.model.data else "ack")
            self.pump()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def check(self, wanted: set[str]) -> None:
        assert set(self.model.markets if self.model.sid else ()) == wanted
        assert self.client[BOOK].held == wanted
        for ticker in wanted:
            assert self.books[ticker].valid
            assert held(self.books[ticker]) == self.model.books[ticker]
        messages = [event for event in self.events if isinstance(event, MarketData)]
        assert len(messages) == self.delivered, "a message was thrown away"
        assert [m.frame for m in messages] == sorted(m.frame for m in messages)


def held(book: Book) -> Levels:
    return {str(price): int(count) for price, count in book.bids.items()}


tickers = st.sampled_from(TICKERS)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.sets(tickers), st.sets(tickers)),
        st.tuples(
            st.just("change"),
            tickers,
            st.tuples(st.sampled_from(["0.4000", "0.4100"]), st.integers(-9, 9)),
        ),
        st.tuples(st.just("pump"), st.none(), st.none()),
        st.tuples(st.just("deliver"), st.sampled_from(["ack", "data"]), st.none()),
        st.tuples(st.just("lose"), st.none(), st.none()),
        st.tuples(st.just("refuse"), st.sampled_from([1, 18, 27]), st.none()),
        st.tuples(st.just("end"), st.sampled_from([10, 17, 25]), st.none()),
    ),
    max_size=60,
)


@pytest.mark.parametrize("acks_mode", ["used", "next", "last", "none"])
@settings(max_examples=60)
@given(actions=actions)
def test_any_order_ends_in_the_exchanges_books(acks_mode: str, actions: list[Any]) -> None:
    world = World(Model(acks_mode))
    model, wanted = world.model, set[str]()
    for kind, one, two in actions:
        match kind:
            case "want":
                remove = two - one
                wanted = (wanted - remove) | one
                world.client.want(BOOK, sorted(one), sorted(remove))
            case "change":
                model.change(one, *two)
            case "pump":
                world.pump()
            case "deliver":
                world.deliver(one)
            case "lose" if model.data:
                model.data.popleft()
            case "refuse":
                model.refuse_next = one
            case "end" if model.sid is not None and world.client[BOOK].confirmed:
                frame = {"type": "error", "sid": model.sid, "msg": {"code": one, "msg": "over"}}
                model.sid = None
                model.data.clear()
                model.acks.clear()
                world.take(frame)
    model.refuse_next = None
    world.settle()
    if wanted:
        # What was lost last shows with the next number.
        model.change(min(wanted), "0.4100", 1)
        world.settle()
    world.check(wanted)


@pytest.mark.parametrize("acks_mode", ["used", "next", "last", "none"])
def test_acknowledgements_alone_are_no_gap(acks_mode: str) -> None:
    world = settled(acks_mode=acks_mode)
    for ticker in TICKERS[:4]:
        world.client.want(BOOK, (), [ticker])
        world.settle()
        world.client.want(BOOK, [ticker], ())
        world.settle()
    alarms = [gap for gap in world.of(Gap) if gap.reason is GapReason.SEQUENCE]
    assert len(alarms) == (1 if acks_mode == "used" else 0), "once, before anything is learnt"


def settled(**options: Any) -> World:
    world = World(Model(**options))
    world.client.want(BOOK, TICKERS, ())
    world.settle()
    return world


def test_a_market_that_the_exchange_does_not_know_does_not_hold_up_the_others() -> None:
    world = settled(unknown=frozenset({"M3"}))
    assert world.client[BOOK].held == set(TICKERS) - {"M3"}
    [refused] = world.of(Refused)
    assert (refused.code, refused.tickers) == (16, ("M3",))
    # Wanted anew, it is asked for anew.
    world.model.unknown = frozenset()
    world.client.want(BOOK, ["M3"], ())
    world.settle()
    world.check(set(TICKERS))


def test_a_full_subscription_says_which_markets_belong_elsewhere() -> None:
    world = World(Model(limit=5))
    world.client.want(BOOK, TICKERS, ())
    world.settle_for_now()
    assert world.client[BOOK].held == set(TICKERS[:5])
    assert world.of(Refused)[-1].code == 26
    assert world.of(Refused)[-1].tickers == tuple(TICKERS[5:])
    assert len(world.model.commands) < 12, "the list is halved, not tried one by one"
    # The others go to another connection, and one that is over makes room.
    world.client.want(BOOK, (), [*TICKERS[6:], "M0"])
    world.settle()
    world.check(set(TICKERS[1:6]))


def test_what_was_halved_is_asked_for_whole_once_the_reason_is_found() -> None:
    """Else each market would take a command of its own from then on, and the next connection's."""

    def sizes(world: World) -> list[int]:
        said = [command["params"] for command in world.model.commands]
        return [len(p["market_tickers"]) for p in said if p.get("action") in (None, "add_markets")]

    full = World(Model(limit=5))
    full.client.want(BOOK, TICKERS, ())
    full.settle_for_now()
    assert sizes(full) == [8, 4, 4, 2, 1, 1]
    full.client.want(BOOK, (), [*TICKERS[5:], *TICKERS[:3]])
    full.settle()
    full.model.commands.clear()
    full.client.want(BOOK, TICKERS[5:], ())
    full.settle()
    assert sizes(full) == [3]
    full.model.sid = None
    full.client.lost(GapReason.CLOSED, "gone", None)
    full.model.commands.clear()
    full.settle()
    assert sizes(full) == [5]

    unknown = World(Model(unknown=frozenset({"M1"}), says_which=False))
    unknown.client.want(BOOK, TICKERS, ())
    unknown.settle()
    unknown.check(set(TICKERS) - {"M1"})
    assert sizes(unknown) == [8, 4, 2, 1, 1, 6]


def test_a_subscription_that_ends_again_and_again_is_asked_for_with_pauses() -> None:
    world = settled()

    def end(lived: float) -> float:
        """How long it takes until it is asked for again."""
        world.clock += lived
        over = {"code": 25, "msg": "over"}
        sid, world.model.sid = world.model.sid, None
        world.model.commands.clear()
        world.take({"type": "error", "sid": sid, "msg": over})
        ended = world.clock
        world.settle()
        return world.asked_at - ended

    # The clock goes on by less than a second at each look.
    world.step = 0.25
    assert [end(0.1) for _ in range(8)] == pytest.approx([0, 1, 2, 4, 8, 16, 30, 30], abs=0.3)
    assert end(6.0) == 0.0
    assert end(6.0) == 0.0
    assert [end(0.1) for _ in range(3)] == pytest.approx([0, 1, 2], abs=0.3)
    assert len(world.of(Ended)) == 13
    world.client.lost(GapReason.CLOSED, "gone", None)
    world.model.sid = None
    world.settle()
    assert end(0.1) == 0.0, "another connection"
    assert world.client[BOOK].held == set(TICKERS)


def test_errors_that_nobody_asked_for_are_said_once_a_minute() -> None:
    world = settled()

    def error(code: int) -> None:
        world.take({"type": "error", "sid": 1, "msg": {"code": code, "msg": "no"}})

    with structlog.testing.capture_logs() as said:
        for _ in range(1000):
            error(27)
            error(26)
        assert [line["code"] for line in said] == [27, 26]
        world.clock += 61
        error(27)
    assert [line["code"] for line in said] == [27, 26, 27]


def test_removing_one_market_leaves_the_others_alone() -> None:
    world = settled()
    world.client.want(BOOK, (), ["M1"])
    world.settle()
    world.check(set(TICKERS) - {"M1"})
    assert world.model.commands[-1]["params"] == {
        "sids": [1], "market_tickers": ["M1"], "action": "delete_markets"
    }  # fmt: skip
    assert [event.tickers for event in world.of(MarketsRemoved)] == [("M1",)]
    assert [set(event.tickers) for event in world.of(MarketsAdded)] == [set(TICKERS)]
    # With the last one the subscription goes: an empty list might be taken for all markets.
    world.client.want(BOOK, (), TICKERS)
    world.settle()
    assert world.model.commands[-1]["cmd"] == "unsubscribe"
    assert [event.wanted for event in world.of(Ended)] == [False]


def test_a_message_of_a_book_that_comes_once_more_or_late_is_not_told() -> None:
    """Whoever adds changes up would add it twice, or to a book that has it."""
    world = settled()
    for ticker in ("M0", "M0", "M1"):
        world.model.change(ticker, "0.4100", 3)
    (first, _), (second, _), (third, _) = world.model.data
    world.model.data.clear()
    told = len(world.of(MarketData))
    for frame in (first, first, third, second):
        world.take(frame)
    assert [event.seq for event in world.of(MarketData)[told:]] == [first["seq"], third["seq"]]
    # That one was missing is a gap all the same.
    assert world.of(Gap)[-1].reason is GapReason.SEQUENCE
    world.settle()
    for ticker in TICKERS:
        assert held(world.books[ticker]) == world.model.books[ticker]


def test_a_lost_message_makes_every_book_of_the_subscription_doubtful() -> None:
    world = settled()
    world.model.change("M0", "0.4100", 3)
    world.model.data.popleft()
    world.model.change("M1", "0.4100", 3)
    world.deliver("data")
    assert not any(world.books[ticker].valid for ticker in TICKERS)
    assert world.of(Gap)[-1].reason is GapReason.SEQUENCE
    world.settle()
    assert set(world.of(SnapshotsAsked)[0].tickers) == set(TICKERS)
    world.check(set(TICKERS))


def test_a_snapshot_that_does_not_come_is_asked_for_again() -> None:
    world = World(Model())
    world.client.want(BOOK, ["M0", "M1"], ())
    world.pump()
    world.deliver("ack")
    world.deliver("data")
    world.model.data.clear()
    assert world.client.command(world.clock + 4, 99) is None
    world.settle()
    assert world.of(SnapshotsAsked)[0].tickers == ("M1",)
    world.check({"M0", "M1"})


def test_a_snapshot_is_an_answer_without_an_acknowledgement() -> None:
    world = settled()
    world.client.renew(BOOK, ["M2"])
    world.pump()
    world.model.acks.clear()
    world.deliver("data")
    assert world.client.deadlines == []
    world.client.want(BOOK, (), ["M5"])
    world.settle()
    assert world.client[BOOK].held == set(TICKERS) - {"M5"}


@pytest.mark.parametrize("code", [8, 9])
def test_a_refused_channel_leaves_the_rest_alone(code: int) -> None:
    client = Subscriptions([Selection("trade"), Selection("ticker")])
    assert client.command(0.0, 15.0) is not None
    frame = {"id": 1, "type": "error", "msg": {"code": code, "msg": "no"}}
    assert client.take(json.dumps(frame).encode(), NOW) is None
    assert [(type(event), event.tickers) for event in client.events] == [(Refused, ())]
    command = client.command(0.0, 15.0)
    assert command is not None
    assert '"ticker"' in command
    assert client.command(0.0, 15.0) is None
    with pytest.raises(SubscribeRefusedError):
        required = Subscriptions(["trade"])
        required.command(0.0, 15.0)
        required.take(json.dumps(frame).encode(), NOW)


@pytest.mark.parametrize(
    "msg",
    [
        '{"market_ticker":"M0","price_dollars":"x","delta_fp":"1.00","side":"yes"}',
        '{"market_ticker":"M0","price_dollars":"0.4","delta_fp":"1.00","side":"maybe"}',
        '{"market_ticker":"","price_dollars":"0.4","delta_fp":"1.00","side":"yes"}',
        '{"market_ticker":"a b","price_dollars":"0.4","delta_fp":"1.00","side":"yes"}',
        '{"price_dollars":"0.4"}',
        "null",
        "[]",
        "7",
        '{"market_ticker":"M0","price_dollars":NaN,"delta_fp":"1.00","side":"yes"}',
        '{"market_ticker":"M\\ud800","price_dollars":"0.4","delta_fp":"1.00","side":"yes"}',
    ],
)
def test_an_unreadable_message_is_kept_and_costs_its_channel_only(msg: str) -> None:
    world = settled()
    client = world.client
    client.select(Selection("trade"))
    command = client.command(0.0, 15.0)
    assert command is not None
    number = json.loads(command)["id"]
    world.take({"id": number, "type": "subscribed", "msg": {"channel": "trade", "sid": 77}})
    raw = b'{"type":"orderbook_delta","sid":1,"seq":%d,"msg":%b}' % (
        world.model.seq + 1, msg.encode())  # fmt: skip
    assert client.take(raw, NOW) is None
    told = list(client.events)
    assert isinstance(told[0], Unreadable)
    assert told[0].raw == raw
    assert {event.channel for event in told if isinstance(event, Gap)} <= {BOOK, "trade"}
    readable = told[0].channel == BOOK
    if readable:
        assert [event.channel for event in told[1:]] == [BOOK]


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def subscribed_trades(subscriptions: Subscriptions, sid: int, now: datetime) -> None:
    command = json.loads(subscriptions.command(0.0, 10.0) or "")
    msg = {"channel": "trade", "sid": sid}
    frame = {"id": command["id"], "type": "subscribed", "msg": msg}
    subscriptions.take(json.dumps(frame).encode(), now)


def take_trade(subscriptions: Subscriptions, seq: int, sent: datetime, now: datetime) -> None:
    msg = {
        "trade_id": f"t{seq}", "market_ticker": "M1", "yes_price_dollars": "0.36",
        "count_fp": "1.00", "taker_side": "no", "ts_ms": int(sent.timestamp() * 1000),
    }  # fmt: skip
    frame = {"type": "trade", "sid": 1, "seq": seq, "msg": msg}
    subscriptions.take(json.dumps(frame).encode(), now)


def last_gap(subscriptions: Subscriptions) -> Gap:
    return [event for event in subscriptions.events if isinstance(event, Gap)][-1]


@pytest.mark.parametrize("ends", ["connection", "subscription", "number"])
def test_what_waited_behind_a_late_message_is_in_the_gap(ends: str) -> None:
    subscriptions = Subscriptions(["trade"])
    subscribed_trades(subscriptions, 1, NOW)
    take_trade(subscriptions, 1, sent=after(4), now=after(10))
    if ends == "connection":
        subscriptions.lost(GapReason.CLOSED, "", known_until=after(12))
        subscribed_trades(subscriptions, 2, after(20))
        expected = after(6), after(20)
    elif ends == "subscription":
        error = {"type": "error", "sid": 1, "msg": {"code": 25, "msg": "too slow"}}
        subscriptions.take(json.dumps(error).encode(), after(12))
        subscribed_trades(subscriptions, 2, after(20))
        expected = after(4), after(20)
    else:
        take_trade(subscriptions, 3, sent=after(5), now=after(11))
        expected = after(4), after(11)
    gap = last_gap(subscriptions)
    assert (gap.since, gap.until) == expected


def test_a_message_from_the_future_or_from_long_ago_moves_nothing_that_is_known() -> None:
    """The exchange's clock goes before ours; a message comes twice."""
    subscriptions = Subscriptions(["trade"])
    subscribed_trades(subscriptions, 1, NOW)
    take_trade(subscriptions, 1, sent=after(40), now=after(10))
    take_trade(subscriptions, 1, sent=after(2), now=after(11))
    take_trade(subscriptions, 3, sent=after(42), now=after(12))
    gap = last_gap(subscriptions)
    assert (gap.since, gap.until) == (after(10), after(12))
