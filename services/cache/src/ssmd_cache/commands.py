"""What `lua/rows.lua` takes: one row's picture as a flat list of arguments. Pure."""

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, assert_never

from ssmd_cache.picture import (
    EventFacts,
    EventPicture,
    Facts,
    FeeFacts,
    FeePicture,
    MarketFacts,
    MarketPicture,
    Picture,
    SeriesFacts,
    SeriesPicture,
    event_picture,
    fee_picture,
    market_picture,
    series_picture,
    value,
)
from ssmd_common.keys import Keys
from ssmd_stream.change import Position

KINDS = {"series": "s", "events": "e", "markets": "m", "series_fees": "f"}
TABLES = {kind: table for table, kind in KINDS.items()}


class Command(NamedTuple):
    """`row` says which row it is about: of several about one row, only the last one counts."""

    row: tuple[str, str]
    arguments: tuple[str, ...]


@lru_cache(maxsize=4)
def sortable(position: Position) -> str:
    """Fixed-width text whose order is the order of positions."""
    return f"{position.epoch:08x}{position.lsn:016x}{position.seq:08x}"


def sortable_epoch(epoch: int) -> str:
    """The part of `sortable` that tells the epoch."""
    return f"{epoch:08x}"


def picture_of(facts: Facts, keys: Keys, now: datetime | None = None) -> Picture:
    """The picture of a row of any table."""
    match facts:
        case MarketFacts():
            return market_picture(facts, keys, now)
        case EventFacts():
            return event_picture(facts, keys, now)
        case SeriesFacts():
            return series_picture(facts, keys)
        case FeeFacts():
            return fee_picture(facts, keys)
        case _:
            assert_never(facts)


def put(picture: Picture, row: bytes, position: Position, *, announced: bool = False) -> Command:
    """Write a row, or take it out if the rules give it no key.

    An `announced` row is not news: one without a key leaves no trace unless it was known.
    """
    at = sortable(position)
    known_only = "1" if announced else "0"
    match picture:
        case MarketPicture(key=None):
            return gone("markets", picture.ticker, position, announced=announced)
        case MarketPicture(key=str(key)):
            return Command(
                ("m", picture.ticker),
                (
                    "m",
                    picture.ticker,
                    at,
                    key,
                    picture.event,
                    picture.series,
                    "1" if picture.listed else "0",
                    picture.closes or "",
                    "" if picture.expires_ms is None else str(picture.expires_ms),
                    value(row, position),
                    known_only,
                ),
            )
        case EventPicture():
            return Command(
                ("e", picture.ticker),
                (
                    "e",
                    picture.ticker,
                    at,
                    picture.key or "",
                    picture.series,
                    picture.category,
                    "" if picture.expires_ms is None else str(picture.expires_ms),
                    value(row, position) if picture.key else "",
                    known_only,
                ),
            )
        case SeriesPicture():
            return Command(
                ("s", picture.ticker),
                (
                    "s",
                    picture.ticker,
                    at,
                    picture.key or "",
                    picture.category,
                    value(row, position) if picture.key else "",
                ),
            )
        case FeePicture():
            start = str(picture.from_microseconds)
            return Command(
                ("f", f"{picture.series}\n{start}"),
                ("f", picture.series, at, start, value(row, position), "0"),
            )
        case _:
            raise AssertionError(picture)


def hidden(table: str, ticker: str, facts: Facts | None, position: Position) -> Command | None:
    """Take out a row that readers cannot be given; None for a step of a fee schedule.

    The category of a series or an event still counts for its markets, where it is known.
    """
    match table:
        case "markets":
            return gone(table, ticker, position)
        case "events":
            known = facts if isinstance(facts, EventFacts) else None
            series, category = (known.series_ticker, known.category) if known else ("", None)
            return put(EventPicture(ticker, series, None, category or "", None), b"", position)
        case "series":
            category = facts.category if isinstance(facts, SeriesFacts) else None
            return put(SeriesPicture(ticker, None, category or ""), b"", position)
        case _:
            return None


def after(command: Command, sequence: int) -> Command:
    """The same between its position and what comes next in the stream.

    For rows read from PostgreSQL in place of the message `sequence`, which need not tell its
    position: what Redis holds of the last message that did is older.
    """
    at = 3 if command.arguments[0] == "g" else 2
    return standing_at(command, f"{command.arguments[at]}~{sequence:016x}")


def standing_at(command: Command, position: str) -> Command:
    """The same at another position, as Redis has it."""
    at = 3 if command.arguments[0] == "g" else 2
    words = list(command.arguments)
    words[at] = position
    return Command(command.row, tuple(words))


def only_steps(series: str, starts: list[int], position: Position) -> Command:
    """Take out the steps of a fee schedule that do not begin at these times."""
    begins = map(str, sorted(starts))
    return Command(("d", series), ("d", series, sortable(position), *begins))


def gone(table: str, ticker: str, position: Position, *, announced: bool = False) -> Command:
    """Take out a row of series, events or markets."""
    kind = KINDS[table]
    arguments = ("g", kind, ticker, sortable(position), "1" if announced else "0")
    return Command((kind, ticker), arguments)


def fee_gone(series: str, from_microseconds: int, position: Position) -> Command:
    """Take out one step of a fee schedule."""
    start = str(from_microseconds)
    return Command(("f", f"{series}\n{start}"), ("f", series, sortable(position), start, "", "0"))
