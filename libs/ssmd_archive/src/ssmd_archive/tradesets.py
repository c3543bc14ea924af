"""Trades of markets, archived and the exchange's, held against each other.

They are kept in a temporary file, so that memory does not grow with them.
"""

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

MOST_NAMED: Final = 100
"""Ids of one kind that are named; all are counted."""

_CACHE_KIB: Final = 16_384
_SCHEMA: Final = """
CREATE TABLE trades (market TEXT, side TEXT, id TEXT, said TEXT, at INTEGER, is_repaired INTEGER);
CREATE INDEX by_market ON trades (market, side, id, said);
"""
_INSERT: Final = "INSERT INTO trades VALUES (?, ?, ?, ?, ?, ?)"
_TRADES: Final = """
SELECT id, said, min(at), min(is_repaired), count(*) FROM trades
WHERE market = ? AND side = ? GROUP BY id, said ORDER BY id, said
"""
_FORGET: Final = "DELETE FROM trades WHERE market = ?"

Side = Literal["archive", "exchange"]


class Trade(NamedTuple):
    """What is compared of a trade, as exact texts (`ssmd_stream.market.messages`); `at` is when the
    exchange made it, in microseconds since 1970, and is not compared: the WebSocket says
    milliseconds. `is_repaired`: it was read over REST.
    """

    id: str
    price: str
    contracts: str
    taker_side: str | None
    block: bool
    at: int
    is_repaired: bool = False

    @property
    def said(self) -> str:
        """All of it that is compared but the id."""
        block = "block" if self.block else "book"
        return f"{self.price} {self.contracts} {self.taker_side or '-'} {block}"


COMPARED: Final = ("trade_id", "price", "count", "taker_side", "block")


@dataclass(slots=True)
class TradeSet:
    """One side's trades of a market: each id once, and the sums of their exact counts.

    `sha256` is of a line `<id> <price> <count> <taker side> <block or book>` for each, ordered by
    id (in UTF-8), of one id by the rest. `doubled` are there more than once and say the same.
    """

    trades: int = 0
    blocks: int = 0
    repaired: int = 0
    doubled: int = 0
    count: Decimal = Decimal(0)
    count_of_blocks: Decimal = Decimal(0)
    sha256: str = ""


@dataclass(slots=True)
class Compared:
    """`missing` are the exchange's ids that the archive lacks, `extra` those that only the archive
    has, `different` those of which both say other things. Of each the first ids are named, and of
    missing ones when all of them were made.
    """

    archive: TradeSet
    exchange: TradeSet
    missing: int = 0
    extra: int = 0
    different: int = 0
    missing_ids: list[str] = field(default_factory=list)
    extra_ids: list[str] = field(default_factory=list)
    different_ids: list[str] = field(default_factory=list)
    missing_at: list[int] = field(default_factory=list)
    """Ascending, each whole second once."""


class TradeSets:
    """Use as a context manager; what it holds is gone afterwards. Its file is in `folder`, else
    where temporary files are."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".trades-") as file:
            self._db = sqlite3.connect(file.name, isolation_level=None)
            # It opens the file when it is asked first; then the name may go.
            self._db.execute("PRAGMA user_version")
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.executescript(_SCHEMA)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def add(self, side: Side, trades: Iterable[tuple[str, Trade]]) -> None:
        """Trades, each with its market's ticker, in any order."""
        self._db.execute("BEGIN")
        self._db.executemany(
            _INSERT,
            ((ticker, side, one.id, one.said, one.at, one.is_repaired) for ticker, one in trades),
        )
        self._db.execute("COMMIT")

    def forget(self, ticker: str) -> None:
        """Drop a market's trades."""
        self._db.execute(_FORGET, (ticker,))

    def archived(self, ticker: str) -> TradeSet:
        """A market's archived trades alone."""
        return self.compare(ticker).archive

    def compare(self, ticker: str) -> Compared:
        """Hold both sides of a market against each other."""
        ours, theirs = (
            _Reading(self._rows(ticker, "archive")),
            _Reading(self._rows(ticker, "exchange")),
        )
        found = Compared(ours.side, theirs.side)
        seconds: set[int] = set()
        a, b = ours.next(), theirs.next()
        while a is not None or b is not None:
            if b is None or (a is not None and a.id < b.id):
                assert a is not None
                found.extra += 1
                _name(found.extra_ids, a.id)
                a = ours.next()
            elif a is None or b.id < a.id:
                found.missing += 1
                _name(found.missing_ids, b.id)
                seconds.add(b.at // 1_000_000)
                b = theirs.next()
            else:
                if a.said != b.said:
                    found.different += 1
                    _name(found.different_ids, a.id)
                a, b = ours.next(), theirs.next()
        found.missing_at = [second * 1_000_000 for second in sorted(seconds)]
        return found

    def _rows(self, ticker: str, side: Side) -> Iterator["_Row"]:
        for row in self._db.execute(_TRADES, (ticker, side)):
            yield _Row(*row)


class _Row(NamedTuple):
    id: str
    said: str
    at: int
    is_repaired: int
    times: int


class _One(NamedTuple):
    id: str
    said: tuple[str, ...]
    at: int


class _Reading:
    """The trades of one side by id; `side` is whole when all were read."""

    def __init__(self, rows: Iterator[_Row]) -> None:
        self.side = TradeSet()
        self._rows = rows
        self._ahead = next(rows, None)
        self._digest = hashlib.sha256()

    def next(self) -> _One | None:
        first = self._ahead
        if first is None:
            self.side.sha256 = self._digest.hexdigest()
            return None
        said = []
        row: _Row | None = first
        while row is not None and row.id == first.id:
            # One id that says two things is different from whatever the other side says.
            said.append(row.said)
            self.side.doubled += row.times - 1
            self._digest.update(f"{row.id} {row.said}\n".encode())
            row = next(self._rows, None)
        self._ahead = row
        _, count, _, block = first.said.split(" ")
        side = self.side
        side.trades += 1
        side.repaired += first.is_repaired
        side.count += Decimal(count)
        if block == "block":
            side.blocks += 1
            side.count_of_blocks += Decimal(count)
        return _One(first.id, tuple(said), first.at)


def _name(ids: list[str], one: str) -> None:
    if len(ids) < MOST_NAMED:
        ids.append(one)


def exact(contracts: Decimal) -> str:
    """A count as messages have it: all its digits, at least two decimals."""
    exponent = contracts.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return f"{contracts:.{max(2, -exponent)}f}"
