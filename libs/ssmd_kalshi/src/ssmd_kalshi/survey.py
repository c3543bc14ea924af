"""A sample of everything that the exchange sends, to see what this version does not know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeVar

from ssmd_common.models import ReadRow, RejectedRow
from ssmd_kalshi import convert, markets
from ssmd_kalshi.errors import BadFieldError, excerpt
from ssmd_kalshi.pages import Page
from ssmd_kalshi.rest import EventStatus, KalshiRest, MarketStatus
from ssmd_kalshi.wire import (
    WireEvent,
    WireEventFeeChange,
    WireMarket,
    WireRow,
    WireSeries,
    WireSeriesFeeChange,
)

R = TypeVar("R", bound=WireRow)

REQUIRED: dict[type[WireRow], tuple[str, ...]] = {
    WireMarket: (
        "event_ticker",
        "market_type",
        "yes_sub_title",
        "no_sub_title",
        "created_time",
        "updated_time",
        "open_time",
        "close_time",
        "latest_expiration_time",
        "settlement_timer_seconds",
        "status",
        "yes_bid_dollars",
        "yes_ask_dollars",
        "no_bid_dollars",
        "no_ask_dollars",
        "last_price_dollars",
        "volume_fp",
        "volume_24h_fp",
        "open_interest_fp",
        "result",
        "can_close_early",
        "expiration_value",
        "rules_primary",
        "price_level_structure",
        "price_ranges",
    ),
    WireEvent: ("series_ticker", "title", "sub_title", "mutually_exclusive"),
    WireSeries: ("title", "category", "frequency", "fee_type", "fee_multiplier"),
    WireSeriesFeeChange: ("id", "fee_type", "fee_multiplier", "scheduled_ts"),
    WireEventFeeChange: ("id", "scheduled_ts"),
}
"""Fields that specification 3.34 promises on every row and that our rows are made from."""

ENTITIES: dict[type[WireRow], str] = {
    WireMarket: "market",
    WireEvent: "event",
    WireSeries: "series",
    WireSeriesFeeChange: "series_fee_change",
    WireEventFeeChange: "event_fee_change",
}

MARKET_STATUSES: tuple[MarketStatus, ...] = ("unopened", "open", "paused", "closed", "settled")
EVENT_STATUSES: tuple[EventStatus, ...] = ("open", "closed", "settled")

Kind = Literal["unknown field", "unknown word", "missing field", "rejected field", "rejected row"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between what the exchange sends and what this version knows."""

    kind: Kind
    entity: str
    name: str
    count: int
    rows: int
    """How many rows of this entity were looked at."""
    example: str = ""


@dataclass(slots=True)
class _Sample:
    rows: Counter[str] = field(default_factory=Counter)
    missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected_rows: list[tuple[str, RejectedRow]] = field(default_factory=list)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)
    """The first value of each rejected field."""

    def add(
        self, kind: type[R], rows: Sequence[R], rejected_rows: Iterable[RejectedRow] = ()
    ) -> None:
        entity = ENTITIES[kind]
        self.rows[entity] += len(rows)
        for row in rows:
            self._look(entity, kind, row)
        steps = [row for row in rows if isinstance(row, WireSeriesFeeChange)]
        self.rejected_rows += [(entity, row) for row in convert.fee_schedule(steps)[1]]
        self.rejected_rows += [(entity, row) for row in rejected_rows]

    def _look(self, entity: str, kind: type[WireRow], row: WireRow) -> None:
        unreadable = {one.name for one in row.rejected}
        for name in REQUIRED[kind]:
            if getattr(row, name) is None and name not in unreadable:
                self.missing[entity, name] += 1
        try:
            converted = _converted(row)
        except BadFieldError as error:
            self.rejected_rows.append(
                (entity, RejectedRow(None, str(error), excerpt(repr(row), 2000)))
            )
            return
        for one in converted.rejected if converted else ():
            if getattr(row, one.field, None) is None and one.field not in unreadable:
                # Not there at all, as said above.
                continue
            self.rejected[entity, one.field] += 1
            self.examples.setdefault((entity, one.field), one.raw)


def _converted(row: WireRow) -> ReadRow | None:
    """The row as it would be stored; steps of a fee schedule have none of their own."""
    match row:
        case WireMarket():
            return markets.market(row, "", datetime.now(UTC))
        case WireEvent():
            return convert.event(row)
        case WireSeries():
            return convert.series(row)
        case _:
            return None


async def survey(rest: KalshiRest, pages: int = 1) -> list[Finding]:
    """Read all series and fee changes, and up to `pages` pages of each other listing and status.

    The most frequent findings of a kind first. The client's `drift` must be new.
    """
    sample = _Sample()
    series = await rest.series()
    sample.add(WireSeries, series.items, series.rejected_rows)
    fees = await rest.series_fee_changes()
    sample.add(WireSeriesFeeChange, fees.items, fees.rejected_rows)
    await _read(sample, WireEventFeeChange, rest.event_fee_changes(), pages)
    for event_status in EVENT_STATUSES:
        nested = event_status != "settled"
        scan = rest.events(status=event_status, with_nested_markets=nested)
        await _read(sample, WireEvent, scan, pages)
    for market_status in MARKET_STATUSES:
        await _read(sample, WireMarket, rest.markets(status=market_status), pages)
    await _read(sample, WireMarket, rest.markets(mve_filter="only", limit=100), 1)
    await _read(sample, WireMarket, rest.historical_markets(limit=100), 1)
    return sorted(_findings(rest, sample), key=lambda finding: (finding.kind, -finding.count))


async def _read(
    sample: _Sample, kind: type[R], scan: AsyncGenerator[Page[R], None], pages: int
) -> None:
    async with aclosing(scan):
        async for page in scan:
            sample.add(kind, page.items, page.rejected_rows)
            for row in page.items:
                if isinstance(row, WireEvent) and row.markets:
                    sample.add(WireMarket, row.markets)
            pages -= 1
            if not pages:
                return


def _findings(rest: KalshiRest, sample: _Sample) -> list[Finding]:
    drift = rest.drift
    found = [
        Finding(
            "unknown field",
            entity,
            name,
            count,
            sample.rows[entity],
            drift.examples.get((entity, name), ""),
        )
        for (entity, name), count in drift.unknown_fields.items()
    ]
    for (path, word), count in drift.unknown_words.items():
        entity, _, name = path.partition(".")
        found.append(Finding("unknown word", entity, name, count, sample.rows[entity], word))
    for (entity, name), count in sample.missing.items():
        found.append(Finding("missing field", entity, name, count, sample.rows[entity]))
    for (entity, name), count in sample.rejected.items():
        example = excerpt(sample.examples[entity, name], 80)
        found.append(Finding("rejected field", entity, name, count, sample.rows[entity], example))
    reasons = Counter((entity, row.reason) for entity, row in sample.rejected_rows)
    for (entity, reason), count in reasons.items():
        found.append(Finding("rejected row", entity, reason, count, sample.rows[entity]))
    return found
