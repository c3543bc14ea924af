"""Made-up trading: prices and counts of a market as a pure function of its seed and the time.

Nothing here touches `updated_time`: the exchange moves that only for non-trading changes.

A full universe is rendered at its first scan, so this is written for that: of the order books there
are a few thousand, whose prices are remembered as text; the counts are each market's own.
"""

from functools import lru_cache
from math import inf

from ssmd_simulator.ladders import snap, step_at
from ssmd_simulator.rng import mix
from ssmd_simulator.universe import Market
from ssmd_simulator.wire import dollars

BOOKS = 1024
"""Order books in ascending order of their prices, for each price level structure."""

COUNTS = (
    b',"yes_bid_size_fp":"%.2f","yes_ask_size_fp":"%.2f","volume_fp":"%.2f",'
    b'"volume_24h_fp":"%.2f","open_interest_fp":"%.2f"'
)


def move_of(market: Market, anchor: float, now: float) -> tuple[int, float]:
    """How often the quote has moved since `anchor`, and when it moves next."""
    if not market.lively:
        return 0, inf
    period = 5 + market.seed % 40
    move = int((now - anchor) // period)
    return move, anchor + (move + 1) * period


def trading(market: Market, move: int, *, final: bool) -> bytes:
    """The quote after `move` moves as JSON members, after a comma.

    A `final` market has an empty book and its last trade.
    """
    seed = market.seed
    base = mix(seed)
    if base % 100 < 35 and not move and not market.lively:
        # A third of the real markets never traded and have no order on either side.
        return UNTRADED
    traded = (base >> 32) % 5_000_000
    volume = traded + move * (100 + (base >> 12) % 5000)
    book = (base >> 8) % BOOKS
    if move:
        # About three cents up or down.
        book = min(BOOKS - 1, max(0, book + mix(seed, move) % 65 - 32))
    if final:
        closing = 9900 if market.result == "yes" else 100
        counts = (0, 0, volume / 100, 0, (volume // 3) / 100)
        return _closed(market.structure, book, closing) + COUNTS % counts
    return _open(market.structure, book) + COUNTS % (
        (base >> 16) % 9000 + (base >> 20) % 100 / 100,
        (base >> 26) % 9000 + (base >> 30) % 100 / 100,
        volume / 100,
        min(volume, volume // 9 + move * 100) / 100,
        (volume // 3) / 100,
    )


@lru_cache(maxsize=32_768)
def _open(structure: str, book: int) -> bytes:
    chance, middle = _middle(book)
    spread = step_at(structure, middle) * (1 + (chance >> 24) % 4)
    before = snap(structure, max(0, middle - (chance >> 44) % 700))
    return prices(
        bid=snap(structure, middle),
        ask=min(10000, snap(structure, middle + spread)),
        last=snap(structure, max(0, middle - (chance >> 40) % 200)),
        previous=(before, min(10000, before + spread), before),
    )


@lru_cache(maxsize=32_768)
def _closed(structure: str, book: int, closing: int) -> bytes:
    chance, middle = _middle(book)
    spread = step_at(structure, middle) * (1 + (chance >> 24) % 4)
    bid, ask = snap(structure, middle), min(10000, snap(structure, middle + spread))
    last = snap(structure, max(0, middle - (chance >> 40) % 200))
    return prices(bid=0, ask=10000, last=closing, previous=(bid, ask, last))


def _middle(book: int) -> tuple[int, int]:
    return mix(book), 100 + book * 9800 // (BOOKS - 1)


def prices(*, bid: int, ask: int, last: int, previous: tuple[int, int, int]) -> bytes:
    """Prices in units of $0.0001 as JSON members; what NO costs follows from YES."""
    return (
        f',"yes_bid_dollars":"{dollars(bid)}","yes_ask_dollars":"{dollars(ask)}",'
        f'"no_bid_dollars":"{dollars(10000 - ask)}","no_ask_dollars":"{dollars(10000 - bid)}",'
        f'"last_price_dollars":"{dollars(last)}",'
        f'"previous_yes_bid_dollars":"{dollars(previous[0])}",'
        f'"previous_yes_ask_dollars":"{dollars(previous[1])}",'
        f'"previous_price_dollars":"{dollars(previous[2])}"'
    ).encode()


UNTRADED = prices(bid=0, ask=10000, last=0, previous=(0, 0, 0)) + COUNTS % (0, 0, 0, 0, 0)
"""An order book nobody has touched."""
