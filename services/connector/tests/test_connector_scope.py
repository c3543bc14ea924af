"""The rules of the scope file, without servers."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ssmd_connector.bookchoice import BookChoice
from ssmd_connector.leftout import LeftOut
from ssmd_connector.outbox import Outbox, Room
from ssmd_connector.outgoing import MarketOutgoing
from ssmd_connector.scope import MarketFacts, Scope, SeriesFacts
from ssmd_connector.scopefile import parsed
from ssmd_connector.secmaster import Market, Series
from ssmd_connector.wants import Wants

NOW = datetime(2026, 11, 29, tzinfo=UTC)


class Known:
    """Markets of two series."""

    def __init__(self) -> None:
        self.series = {
            "A": Series("A", "Crypto", ["BTC"], False, 10),
            "B": Series("B", "Sports", None, True, 1000),
        }
        self.markets = {
            f"{name}{n}": Market(
                f"{name}{n}", f"{name}-E", name, "active", NOW + timedelta(hours=n), None, n
            )
            for name in self.series
            for n in range(1, 20)
        }

    def market(self, ticker: str) -> Market | None:
        return self.markets.get(ticker)

    def series_of(self, market: MarketFacts) -> SeriesFacts | None:
        return self.series.get(market.series_ticker)

    def category_of(self, market: MarketFacts) -> str | None:
        return self.series[market.series_ticker].category

    def trading(self) -> list[Market]:
        return [market for market in self.markets.values() if market.status == "active"]


def chosen(text: str, shard: int = 0, shards: int = 1, known: Known | None = None) -> set[str]:
    choice = BookChoice(known or Known(), shard, shards)
    for _ in choice.choose(parsed(text.encode()), NOW):
        pass
    return choice.wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", set()),
        ("books: [{series: [A], closing_within_hours: 2}]", {"A1", "A2"}),
        ("books: [{categories: [Sports], most_traded: 2}]", {"B19", "B18"}),
        (
            "books: [{tags: [BTC], most_traded: 1}, {games_only: true, most_traded: 1}]",
            {"A19", "B19"},
        ),
        ("books: [{min_volume: 100, closing_within_hours: 1}]", {"B1"}),
        ("books: [{series: [A], categories: [Sports]}]", set()),
    ],
)
def test_books_that_a_scope_chooses(text: str, wanted: set[str]) -> None:
    assert chosen(text) == wanted


def test_shards_share_the_books_and_none_is_in_two() -> None:
    everything = "books: [{}]"
    parts = [chosen(everything, shard, 3) for shard in range(3)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 38
    assert all(parts)


def test_a_market_that_ends_leaves_its_place_to_the_next_that_opens() -> None:
    known = Known()
    choice = BookChoice(known, 0, 1)
    for _ in choice.choose(parsed(b"books: [{series: [A], most_traded: 2}]"), NOW):
        pass
    assert choice.look("A3", NOW) is None
    known.markets["A19"] = Market("A19", "A-E", "A", "closed", NOW, None, 19)
    assert choice.look("A19", NOW) is False
    assert choice.look("A3", NOW) is True
    assert choice.wanted == {"A18", "A3"}


def test_while_it_is_chosen_anew_places_that_are_taken_stay_taken() -> None:
    """The markets that change meanwhile would be subscribed, and left again a moment later."""
    known = Known()
    for n in range(20, 3000):
        known.markets[f"A{n}"] = Market(f"A{n}", "A-E", "A", "active", NOW, None, 0)
    scope = parsed(b"books: [{series: [A], most_traded: 2}]")
    choice = BookChoice(known, 0, 1)
    for _ in choice.choose(scope, NOW):
        pass
    steps = choice.choose(scope, NOW)
    next(steps)
    assert [choice.look(ticker, NOW) for ticker in ("A3", "A19", "A2500")] == [None] * 3
    for _ in steps:
        pass
    assert choice.wanted == {"A19", "A18"}
    # Of another scope nothing is taken yet.
    for _ in choice.choose(parsed(b"books: [{series: [B], most_traded: 1}]"), NOW):
        pass
    assert choice.wanted == {"B19"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bookz: []", "unknown field `bookz`"),
        ("books: [{most_traded: 0}]", "most_traded"),
        ("books: [{series: A}]", "Expected `array`"),
        ("books: [", "it is no YAML"),
        ("- a", "Expected `object`"),
    ],
)
def test_a_scope_that_cannot_be_read_says_where(text: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        parsed(text.encode())
    assert said in str(refused.value)


def test_names_that_nobody_has_are_sentences() -> None:
    scope = parsed(b"markets: [{categories: [Cryto, Sports]}]\nbooks: [{series: [NOPE]}]")
    assert scope.unknown({"Crypto", "Sports"}, {"A"}, set()) == [
        "the scope names the category 'Cryto', which the secmaster does not have",
        "the scope names the series 'NOPE', which the secmaster does not have",
    ]
    assert Scope().unknown(set(), set(), set()) == []


async def test_active_markets_that_say_nothing_are_noted_as_left_out() -> None:
    known = Known()
    view: Any = known
    known.is_ready, known.listeners = True, []  # type: ignore[attr-defined]
    known.listen = known.listeners.append  # type: ignore[attr-defined]
    scope = parsed(b"markets: [{series: [A]}]")
    wants, left_out = Wants(view, lambda: scope, multivariate=False), LeftOut()
    left_out.begin(scope.market_selectors)
    assert left_out.fields == {"selectors": [{"series": ["A"]}], "multivariate": False}
    looking = asyncio.create_task(wants.look(left_out))
    await asyncio.sleep(0.05)
    found = {ticker for part in left_out.take() for ticker in part}
    assert found == {market.ticker for market in known.trading() if market.series_ticker != "A"}
    assert found
    assert list(left_out.take()) == []
    # Another scope, and the view is looked through again.
    scope = parsed(b"markets: [{series: [B]}]")
    left_out.begin(scope.market_selectors)
    for listener in known.listeners:  # type: ignore[attr-defined]
        listener(None)
    await asyncio.sleep(0.05)
    found = {ticker for part in left_out.take() for ticker in part}
    assert found == {market.ticker for market in known.trading() if market.series_ticker != "B"}
    left_out.note("KXMVE-1")
    assert list(left_out.take()) == []
    looking.cancel()


def test_quotes_are_dropped_first_then_books_then_trades() -> None:
    room = Room(100, 1 << 20)
    trades, books = Outbox(room), Outbox(room)
    taken = {"ticker": 0, "book": 0, "trade": 0}
    for kind, box, count in (("ticker", trades, 70), ("book", books, 70), ("trade", trades, 70)):
        for number in range(count):
            taken[kind] += box.put(MarketOutgoing(f"{kind}{number}", "s", kind, b"x"))
    assert taken == {"ticker": 60, "book": 20, "trade": 20}


async def test_a_stream_that_takes_nothing_does_not_cost_the_other_one_its_quotes() -> None:
    room = Room(100, 1 << 20)
    stuck, goes = Outbox(room), Outbox(room)

    def message(kind: str, size: int = 1) -> MarketOutgoing:
        return MarketOutgoing("i", "s", kind, b"x" * size)

    while stuck.put(message("book")):
        pass
    assert len(stuck) == 80
    for _ in range(200):
        assert goes.put(message("ticker"))
        assert goes.put(message("trade"))
        assert len(await goes.take(500)) == 2
        async with asyncio.timeout(60):
            await goes.has_room()
    # What it cannot get rid of itself is dropped, and taken again once it can.
    taken = [goes.put(message("ticker")) for _ in range(20)]
    assert taken == [True] * 10 + [False] * 10
    assert goes.drops() is None
    await goes.take(5)
    drops = goes.drops()
    assert drops is not None
    assert drops.counts == {"ticker": 10}
    assert goes.put(message("ticker"))
    assert room.messages == 86
    # Bytes count as messages do.
    assert goes.put(message("ticker", 1 << 17))
    assert not goes.put(message("ticker"))
