"""The fee schedule of a series: what the exchange announces, and what the series says. Pure.

The exchange lists changes; a series that never changed has its fee only in the series itself. So
the schedule is the list of changes, preceded by a seed from the series where no listed change is in
force yet, and continued by what was observed where the series contradicts the list.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from typing import Final

import msgspec

from ssmd_common import fees
from ssmd_common.models import RejectedRow, SeriesFee
from ssmd_kalshi import convert
from ssmd_kalshi.errors import excerpt
from ssmd_kalshi.values import dollars, time
from ssmd_kalshi.wire import WireEventFeeChange, WireSeriesFeeChange

SINCE_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
BELIEVED_AFTER: Final = timedelta(hours=1)
"""A series may be a while behind its own change; only then does it contradict it."""
DIGITS: Final = Decimal("0.0001")
SEED: Final = "seed"
OBSERVED: Final = "observed"


@dataclass(frozen=True, slots=True)
class OwnFee:
    """What a series says of its fee at present."""

    series_ticker: str
    fee_type: str
    multiplier: Decimal


Override = tuple[str | None, Decimal | None]
"""An event's fee type and multiplier; (None, None): its series' fee holds."""


def overrides(
    changes: Iterable[WireEventFeeChange], now: datetime
) -> tuple[dict[str, Override], list[RejectedRow]]:
    """What is in force at a moment for each event that ever had an override, and what cannot be
    read. Of two changes for the same moment the one with the greater id holds."""
    latest: dict[str, tuple[datetime, str, Override]] = {}
    rejected_rows: list[RejectedRow] = []
    for change in changes:
        ticker = change.event_ticker
        try:
            since, multiplier = time(change.scheduled_ts), dollars(change.fee_multiplier_override)
            if since is None:
                raise ValueError("a fee without a beginning")
        except (ValueError, ArithmeticError) as error:
            raw = excerpt(repr(change), 2000)
            rejected_rows.append(RejectedRow(ticker, f"event fee change: {error}", raw))
            continue
        step = (since, change.id or "", (change.fee_type_override or None, multiplier))
        if since <= now and (ticker not in latest or step[:2] > latest[ticker][:2]):
            latest[ticker] = step
    return {ticker: override for ticker, (_, _, override) in latest.items()}, rejected_rows


def announced(
    changes: Iterable[WireSeriesFeeChange],
) -> tuple[dict[str, list[SeriesFee]], list[RejectedRow]]:
    """The exchange's steps of each series in order, and what cannot be read of them."""
    rows, unreadable = convert.fee_schedule(changes)
    steps: dict[str, list[SeriesFee]] = {}
    for row in rows:
        steps.setdefault(row.series_ticker, []).append(row)
    return steps, [
        msgspec.structs.replace(one, reason=f"series_fees: {one.reason}") for one in unreadable
    ]


def schedule(
    own: OwnFee | None,
    announced: Sequence[SeriesFee],
    stored: Sequence[SeriesFee],
    now: datetime,
    *,
    doubtful: bool = False,
) -> list[SeriesFee]:
    """The whole schedule, in order, without overlaps, each step in force until the next begins.

    `announced` are the exchange's steps. Of what is stored, only our own seeds and observations are
    kept, where the exchange has announced nothing for that time: a past fee is history. All of it
    is where a step is `doubtful`: one that cannot be read is not one that is gone.
    """
    starts = {step.effective_from: step for step in announced}
    first = min(starts, default=None)
    for step in stored:
        unannounced = first is None or step.effective_from < first
        ours = step.source_id == OBSERVED or (step.source_id == SEED and unannounced)
        if ours or doubtful:
            starts.setdefault(step.effective_from, step)
    steps = _chained([starts[moment] for moment in sorted(starts)])
    if own is None:
        return steps
    present = in_force(steps, now)
    if present is None:
        steps = _chained([_step(own, SINCE_EVER, SEED), *steps])
    elif _differs(present, own) and present.effective_from < now - BELIEVED_AFTER:
        after = [step for step in steps if step.effective_from > now]
        before = [step for step in steps if step.effective_from <= now]
        steps = _chained([*before, _step(own, now, OBSERVED), *after])
    return steps


def in_force(steps: Sequence[SeriesFee], at: datetime) -> SeriesFee | None:
    """The step that holds at a moment."""
    found = fees.in_force([(step.effective_from, step.effective_to) for step in steps], at)
    return None if found is None else steps[found]


def _differs(step: SeriesFee, own: OwnFee) -> bool:
    return (step.fee_type, step.fee_multiplier.quantize(DIGITS)) != (
        own.fee_type,
        own.multiplier.quantize(DIGITS),
    )


def _step(own: OwnFee, moment: datetime, source: str) -> SeriesFee:
    return SeriesFee(
        series_ticker=own.series_ticker,
        fee_type=own.fee_type,
        fee_multiplier=own.multiplier.quantize(DIGITS),
        effective_from=moment,
        source_id=source,
    )


def _chained(steps: Sequence[SeriesFee]) -> list[SeriesFee]:
    following = [step.effective_from for step in steps[1:]]
    return [
        msgspec.structs.replace(step, effective_to=end)
        for step, end in zip_longest(steps, following)
    ]
