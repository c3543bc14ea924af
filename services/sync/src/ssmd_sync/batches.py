"""Rows on their way to the store: when seen, duplicates resolved, sizes bounded. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from ssmd_common.models import Event, Row

R = TypeVar("R", bound=Row)
T = TypeVar("T")

_NEVER = datetime.min.replace(tzinfo=UTC)


class SeenEvent(Event, frozen=True, kw_only=True, gc=False):
    """An event, and when the page that shows it was asked for: the table does not keep that."""

    observed_at: datetime


def seen(events: Iterable[Event], observed_at: datetime) -> list[SeenEvent]:
    return [SeenEvent(**msgspec.structs.asdict(row), observed_at=observed_at) for row in events]


def newest(rows: Iterable[R], key: str) -> list[R]:
    """One row for each key, in key order: the one that the exchange changed last, then the one
    that was observed last, then the one that comes last."""
    kept: dict[str, R] = {}
    for row in rows:
        ticker = getattr(row, key)
        other = kept.get(ticker)
        if other is None or _age(row) >= _age(other):
            kept[ticker] = row
    return [kept[ticker] for ticker in sorted(kept)]


def _age(row: Row) -> tuple[datetime, datetime]:
    changed_at = getattr(row, "exchange_updated_at", None) or _NEVER
    return changed_at, getattr(row, "observed_at", _NEVER)


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def queries(tickers: Sequence[str], most: int, characters: int) -> Iterator[list[str]]:
    """The tickers in order, at most `most` at a time and no longer than a query may be."""
    part: list[str] = []
    length = 0
    for ticker in tickers:
        if part and (len(part) == most or length + 1 + len(ticker) > characters):
            yield part
            part, length = [], 0
        part.append(ticker)
        length += 1 + len(ticker)
    if part:
        yield part
