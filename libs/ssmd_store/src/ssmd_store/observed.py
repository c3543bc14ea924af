"""Rows on their way to the tables: when they were seen, and the newest of duplicates. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from ssmd_common.models import Event, Row

R = TypeVar("R", bound=Row)

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
