"""Every trade of a simulator's life, and the pages of it that REST gives."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ssmd_simulator.listing import BadRequest, Query
from ssmd_simulator.rng import mix
from ssmd_simulator.wire import BadCursor, count, decode_cursor, dollars, encode_cursor, rfc3339

KEPT = 4_000_000
"""Trades; then the older half goes."""


class Trade(NamedTuple):
    """A trade: `number` counts all from 0, `at` is in microseconds, `price` what YES cost."""

    number: int
    at: int
    ticker: str
    price: int
    size: int
    taker: str
    block: bool


@dataclass(frozen=True, slots=True)
class Page:
    """What a query gets, and where the next page begins."""

    trades: list[Trade]
    cursor: str


class Tape:
    """The trades in the order of their time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._first = 0
        self._trades: list[Trade] = []
        self._times = array("q")
        self._of: dict[str, array[int]] = {}

    def __len__(self) -> int:
        return self._first + len(self._trades)

    def add(
        self, at: float, ticker: str, price: int, size: int, taker: str, *, block: bool = False
    ) -> Trade:
        """Record a trade; never earlier than the one before."""
        micros = int(at * 1_000_000)
        if self._times and micros < self._times[-1]:
            micros = self._times[-1]
        trade = Trade(len(self), micros, ticker, price, size, taker, block)
        self._trades.append(trade)
        self._times.append(micros)
        self._of.setdefault(ticker, array("q")).append(trade.number)
        if len(self._trades) > KEPT:
            self._forget(KEPT // 2)
        return trade

    def _forget(self, how_many: int) -> None:
        del self._trades[:how_many], self._times[:how_many]
        self._first += how_many
        for ticker, numbers in list(self._of.items()):
            kept = numbers[bisect_left(numbers, self._first) :]
            self._of[ticker] = kept

    def all(self, ticker: str | None = None) -> list[Trade]:
        """Every trade that is kept, the first one first."""
        if ticker is None:
            return list(self._trades)
        numbers = self._of.get(ticker, array("q"))
        return [self._trades[number - self._first] for number in numbers]

    def id_of(self, number: int) -> bytes:
        """The `trade_id` of a trade."""
        text = b"%016x%016x" % (mix(self._seed, number), mix(self._seed, number, 1))
        return b"%b-%b-4%b-a%b-%b" % (text[:8], text[8:12], text[13:16], text[17:20], text[20:])

    def page(self, query: Query, earliest: float, latest: float) -> Page:
        """A page of trades from `earliest` on and before `latest`, the latest first."""
        limit = query.limit(100, 1000)
        low, high = query.integer("min_ts"), query.integer("max_ts")
        start = max(int(earliest * 1e6), (low + 1) * 1_000_000 if low is not None else 0)
        end = int(latest * 1e6)
        if high is not None:
            end = min(end, (high + 1) * 1_000_000)
        first = self._first + bisect_left(self._times, start)
        behind = self._first + bisect_left(self._times, end)
        if cursor := query.text("cursor"):
            behind = min(behind, _number_of(cursor))
        numbers: Sequence[int] = range(first, behind)
        if ticker := query.text("ticker"):
            mine = self._of.get(ticker, array("q"))
            numbers = mine[bisect_left(mine, first) : bisect_left(mine, behind)]
        block = query.text("is_block_trade")
        found: list[Trade] = []
        for number in reversed(numbers):
            trade = self._trades[number - self._first]
            if block and trade.block != (block == "true"):
                continue
            if len(found) == limit:
                last = found[-1]
                return Page(found, encode_cursor(last.at, str(last.number)))
            found.append(trade)
        return Page(found, "")

    def row(self, trade: Trade) -> dict[str, object]:
        """A trade as REST prints it."""
        return {
            "trade_id": self.id_of(trade.number).decode(),
            "ticker": trade.ticker,
            "count_fp": count(trade.size),
            "yes_price_dollars": dollars(trade.price),
            "no_price_dollars": dollars(10_000 - trade.price),
            "taker_side": trade.taker,
            "taker_outcome_side": trade.taker,
            "taker_book_side": "bid" if trade.taker == "yes" else "ask",
            "created_time": rfc3339(trade.at / 1e6),
            "is_block_trade": trade.block,
        }


def _number_of(cursor: str) -> int:
    try:
        return int(decode_cursor(cursor)[1])
    except (BadCursor, ValueError):
        raise BadRequest("invalid cursor") from None
