"""What is traded of one market: its orders, its last trade and its counts, as they are now.

Prices are in units of $0.0001, counts in hundredths of a contract; orders for NO are kept by what
NO costs, as the exchange keeps them.
"""

import random
from dataclasses import dataclass, field

import msgspec

from ssmd_simulator import quotes
from ssmd_simulator.ladders import snap, step_at
from ssmd_simulator.rng import mix
from ssmd_simulator.universe import Market
from ssmd_simulator.wire import count, dollars

DEPTH = 5
"""Levels of each side to begin with."""
ONE = 10_000
_json = msgspec.json.Encoder()


@dataclass(slots=True, eq=False)
class Trading:
    """The market's orders by price, and what its trades add up to."""

    market: Market
    name: bytes
    """The ticker as JSON."""
    id: str
    """The market's UUID."""
    yes: dict[int, int] = field(default_factory=dict)
    no: dict[int, int] = field(default_factory=dict)
    last: int = 0
    last_size: int = 0
    volume: int = 0
    volume_24h: int = 0
    open_interest: int = 0
    previous: tuple[int, int, int] = (0, 0, 0)

    @property
    def bid(self) -> int:
        """The best price that somebody pays for YES; 0 without any."""
        return max(self.yes, default=0)

    @property
    def ask(self) -> int:
        """The best price that YES can be had for; $1 without any."""
        return ONE - max(self.no, default=0)

    @property
    def bid_size(self) -> int:
        """Hundredths of contracts at the best bid."""
        return self.yes.get(self.bid, 0)

    @property
    def ask_size(self) -> int:
        """Hundredths of contracts at the best ask."""
        return self.no.get(ONE - self.ask, 0)

    def side(self, name: str) -> dict[int, int]:
        """The orders of a side."""
        return self.yes if name == "yes" else self.no

    def change(self, side: str, price: int, delta: int) -> None:
        """Put orders into a level or take them out of it."""
        levels = self.side(side)
        levels[price] = levels.get(price, 0) + delta
        assert levels[price] >= 0, "more was taken out of a level than was in it"
        if not levels[price]:
            del levels[price]
        self.market.rendered_until = 0.0

    def traded(self, price: int, size: int, opened: int, *, counts: bool = True) -> None:
        """A trade; `opened` is by how much open interest moves, `counts` whether volume does."""
        self.last, self.last_size = price, size
        if counts:
            self.volume += size
            self.volume_24h += size
        self.open_interest = max(0, self.open_interest + opened)
        self.market.rendered_until = 0.0

    def members(self, *, final: bool) -> bytes:
        """The quote as JSON members of a REST market, after a comma."""
        bid, ask = (0, ONE) if final else (self.bid, self.ask)
        return quotes.prices(bid=bid, ask=ask, last=self.last, previous=self.previous) + (
            quotes.COUNTS
            % (
                0 if final else self.bid_size / 100,
                0 if final else self.ask_size / 100,
                self.volume / 100,
                self.volume_24h / 100,
                self.open_interest / 100,
            )
        )

    def levels(self, side: str) -> list[list[str]]:
        """The levels of a side, the best first, as the exchange prints them."""
        ordered = sorted(self.side(side).items(), reverse=True)
        return [[dollars(price), count(size)] for price, size in ordered]


def begin(market: Market, shown: bytes) -> Trading:
    """The trading of a market that REST has shown like this so far (members after a comma)."""
    quote = msgspec.json.decode(b"{" + shown[1:] + b"}")

    def price(name: str) -> int:
        return round(float(quote[name]) * ONE)

    def size(name: str) -> int:
        return round(float(quote[name]) * 100)

    trading = Trading(
        market,
        _json.encode(market.ticker),
        _uuid(market.seed),
        last=price("last_price_dollars"),
        volume=size("volume_fp"),
        volume_24h=size("volume_24h_fp"),
        open_interest=size("open_interest_fp"),
        previous=(
            price("previous_yes_bid_dollars"),
            price("previous_yes_ask_dollars"),
            price("previous_price_dollars"),
        ),
    )
    trading.last_size = min(100, trading.volume)
    chance = random.Random(market.seed)
    for side, best, resting in (
        ("yes", price("yes_bid_dollars"), size("yes_bid_size_fp")),
        ("no", price("no_bid_dollars"), size("yes_ask_size_fp")),
    ):
        at = best
        for depth in range(DEPTH):
            if not 0 < at < ONE or not resting:
                break
            trading.side(side)[at] = resting if depth == 0 else chance.randrange(100, 200_000)
            at = snap(market.structure, at - step_at(market.structure, at - 1))
    return trading


def _uuid(seed: int) -> str:
    text = f"{mix(seed, 1):016x}{mix(seed, 2):016x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
