"""Made-up trading: prices and counts of a market as a pure function of its seed and the time.

Nothing here touches `updated_time`: the exchange moves that only for non-trading changes.
"""

from dataclasses import dataclass
from math import inf

from ssmd_simulator.chance import mix
from ssmd_simulator.ladders import snap, step_at
from ssmd_simulator.universe import Market


@dataclass(frozen=True, slots=True)
class Quote:
    """Prices in units of $0.0001, counts in hundredths of a contract."""

    yes_bid: int
    yes_ask: int
    last: int
    previous_bid: int
    previous_ask: int
    previous: int
    bid_size: int
    ask_size: int
    volume: int
    volume_24h: int
    open_interest: int


EMPTY = Quote(0, 10000, 0, 0, 0, 0, 0, 0, 0, 0, 0)
"""An order book nobody has touched."""


def move_of(market: Market, anchor: float, now: float) -> tuple[int, float]:
    """How often the quote has moved since `anchor`, and when it moves next."""
    if not market.lively:
        return 0, inf
    period = 5 + market.seed % 40
    move = int((now - anchor) // period)
    return move, anchor + (move + 1) * period


def quote_at(market: Market, move: int, *, final: bool) -> Quote:
    """The quote after `move` moves; a `final` market has an empty book and its last trade."""
    seed = market.seed
    base = mix(seed)
    if base % 100 < 35 and not market.lively:
        # A third of the real markets never traded and have no order on either side.
        return EMPTY
    structure = market.structure
    middle = 200 + (base >> 8) % 9600
    if move:
        middle = min(9900, max(100, middle + (mix(seed, move) % 601) - 300))
    spread = step_at(structure, middle) * (1 + (base >> 24) % 4)
    bid = snap(structure, middle)
    ask = min(10000, snap(structure, middle + spread))
    traded = (base >> 32) % 5_000_000
    volume = traded + move * (100 + (base >> 12) % 5000)
    interest = volume // 3
    last = snap(structure, max(0, middle - (base >> 40) % 200))
    before = snap(structure, max(0, middle - (base >> 44) % 700))
    if final:
        closing = 9900 if market.result == "yes" else 100
        return Quote(0, 10000, closing, bid, ask, last, 0, 0, volume, 0, interest)
    return Quote(
        bid,
        ask,
        last,
        before,
        min(10000, before + spread),
        before,
        100 * ((base >> 16) % 9000) + (base >> 20) % 100,
        100 * ((base >> 26) % 9000) + (base >> 30) % 100,
        volume,
        min(volume, volume // 9 + move * 100),
        interest,
    )
