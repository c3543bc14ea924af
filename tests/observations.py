"""Random pairs of what is stored of a market, an event or a series, and what a page says of it.

Shared by the test of the rules in libs/ssmd_store and by the one that both services write the same.
Times lie close around `T`, when the page was asked for, so that each comparison is met on both
sides and at the very moment. Some stored times Python cannot hold: they count as none.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from ssmd_common.status import FROM_EXCHANGE

T = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
FAR = ("infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "15000-06-01 00:00:00+00")
WORDS = (*FROM_EXCHANGE, "teleported")
JUST = (-3600, -3, -2, -1, -1, 0, 1, 1, 2 * 86400)
OFFSETS = (-3600, -11, -10, -9, -3, -2, -1, 0, 1, 2, 3, 9, 10, 11, 3600)


@dataclass(frozen=True)
class Pair:
    """`stored` are columns (no row where None), `page` the exchange's fields, by our names."""

    ticker: str
    stored: dict[str, Any] | None
    page: dict[str, Any]

    def known(self, column: str) -> datetime | None:
        """A stored time; None for one that Python cannot hold."""
        value = (self.stored or {}).get(column)
        if column == "observed_at" and isinstance(value, datetime) and value > at(86400 + 60):
            # Still to come: of a clock that was wrong.
            return None
        return value if isinstance(value, datetime) else None


def at(seconds: float) -> datetime:
    return T + timedelta(seconds=seconds)


def _time(
    chance: random.Random,
    offsets: Sequence[int] = OFFSETS,
    *,
    none: float = 0.15,
    far: float = 0.0,
) -> Any:
    if chance.random() < none:
        return None
    if chance.random() < far:
        return chance.choice(FAR)
    return at(chance.choice(offsets))


def market_pairs(chance: random.Random, count: int) -> list[Pair]:
    """Of markets of the event KXA-1."""
    pairs = []
    for number in range(count):
        word = "active" if chance.random() < 0.4 else chance.choice(WORDS)
        times = {
            "open_time": _time(chance),
            "close_time": _time(chance),
            "settled_time": _time(chance),
        }
        stored = {
            "status": chance.choice(["open", "active", "closed", "settled"]),
            "exchange_status": chance.choice(WORDS),
            "title": "stored",
            **{name: _time(chance, far=0.1) for name in times},
            "exchange_updated_at": _time(chance, far=0.1),
            "observed_at": _time(chance, JUST, none=0.03, far=0.05),
            "observed_via": chance.choice(["rest", "ws", "clock"]),
            "deleted_at": _time(chance, none=0.7, far=0.2),
        }
        page = {
            "exchange_status": word,
            "title": "page",
            **times,
            "exchange_updated_at": _time(chance),
        }
        is_new = chance.random() < 0.05
        pairs.append(Pair(f"KXA-1-T{number}", None if is_new else stored, page))
    return pairs


def parent_pairs(chance: random.Random, count: int, *, key: str) -> list[Pair]:
    """Of events (`event_ticker`) or series (`ticker`)."""
    pairs = []
    for number in range(count):
        stored = {
            "title": chance.choice(["stored", "stored", None]),
            "exchange_updated_at": _time(chance, far=0.1),
            "updated_at": _time(chance, none=0, far=0.1),
        }
        if key == "event_ticker":
            stored |= {"series_ticker": "KXA", "deleted_at": _time(chance, none=0.8, far=0.2)}
        page = {"title": "page", "exchange_updated_at": _time(chance)}
        pairs.append(Pair(f"KXB{number}", None if chance.random() < 0.05 else stored, page))
    return pairs


async def store_them(
    connection: psycopg.AsyncConnection[Any],
    pairs: Sequence[Pair],
    table: str,
    key: str,
    **more: Any,
) -> None:
    """Insert the stored halves."""
    rows = [{key: pair.ticker, **more, **pair.stored} for pair in pairs if pair.stored is not None]
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, rows[0])),
        sql.SQL(", ").join(map(sql.Placeholder, rows[0])),
    )
    async with connection.cursor() as cursor:
        await cursor.executemany(query, rows)


async def store_parents(connection: psycopg.AsyncConnection[Any]) -> None:
    """The event KXA-1 and its series."""
    await connection.execute("INSERT INTO series (ticker, title) VALUES ('KXA', 'A')")
    await connection.execute(
        "INSERT INTO events (event_ticker, series_ticker, title) VALUES ('KXA-1', 'KXA', 'A?')"
    )
