"""Fee schedules: no overlaps, no holes once begun, history kept."""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ssmd_common.models import SeriesFee
from ssmd_kalshi.wire import WireEventFeeChange, WireSeriesFeeChange
from ssmd_sync.fees import (
    OBSERVED,
    SEED,
    SINCE_EVER,
    OwnFee,
    announced,
    in_force,
    overrides,
    schedule,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ONE = OwnFee("KXA", "quadratic", Decimal(1))
HALF = OwnFee("KXA", "quadratic", Decimal("0.5"))


def change(day: int, multiplier: str = "1", source: str | None = None) -> SeriesFee:
    return SeriesFee(
        series_ticker="KXA",
        fee_type="quadratic",
        fee_multiplier=Decimal(multiplier),
        effective_from=NOW + day * DAY,
        source_id=source or f"change{day}",
    )


def sound(steps: list[SeriesFee]) -> list[SeriesFee]:
    for step, following in itertools.pairwise(steps):
        assert step.effective_from < following.effective_from == step.effective_to
    assert not steps or steps[-1].effective_to is None
    return steps


def test_a_series_that_never_changed_has_its_own_fee_since_ever() -> None:
    [step] = sound(schedule(ONE, [], [], NOW))
    assert (step.effective_from, step.fee_multiplier, step.source_id) == (SINCE_EVER, 1, SEED)


def test_the_own_fee_holds_until_the_first_change_to_come() -> None:
    seed, coming = sound(schedule(ONE, [change(3, "2")], [], NOW))
    assert seed.effective_to == coming.effective_from == NOW + 3 * DAY


def test_past_changes_stand_as_announced() -> None:
    steps = sound(schedule(ONE, [change(-9, "2"), change(-2, "1"), change(4, "3")], [], NOW))
    assert [step.fee_multiplier for step in steps] == [2, 1, 3]
    present = in_force(steps, NOW)
    assert present is not None
    assert present.effective_from == NOW - 2 * DAY


def test_a_seed_is_kept_as_history_when_the_announced_change_has_come() -> None:
    before = schedule(ONE, [change(1, "0.5")], [], NOW)
    later = sound(schedule(HALF, [change(1, "0.5")], before, NOW + 2 * DAY))
    assert later == before


def test_an_unannounced_change_is_observed_and_the_past_stays_as_it_was() -> None:
    before = schedule(ONE, [], [], NOW - DAY)
    after = sound(schedule(HALF, [], before, NOW))
    assert [(s.effective_from, s.fee_multiplier, s.source_id) for s in after] == [
        (SINCE_EVER, 1, SEED),
        (NOW, Decimal("0.5"), OBSERVED),
    ]
    assert schedule(HALF, [], after, NOW + DAY) == after


def test_a_series_that_is_slow_to_tell_a_change_is_no_contradiction() -> None:
    announcement = [change(0, "2")]
    steps = schedule(ONE, announcement, [], NOW + timedelta(minutes=10))
    assert [step.source_id for step in steps] == ["change0"]


@given(
    st.lists(st.tuples(st.integers(-20, 20), st.sampled_from(["0", "0.5", "1"])), max_size=6),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([ONE, HALF, None])), max_size=8),
)
def test_whatever_comes_schedules_do_not_overlap_and_a_second_look_changes_nothing(
    changes: list[tuple[int, str]], looks: list[tuple[int, OwnFee | None]]
) -> None:
    by_day = {day: change(day, multiplier) for day, multiplier in changes}
    stored: list[SeriesFee] = []
    for day, own in sorted(looks, key=lambda look: look[0]):
        now = NOW + day * DAY
        stored = sound(schedule(own, list(by_day.values()), stored, now))
        assert schedule(own, list(by_day.values()), stored, now) == stored
        if own is not None:
            assert in_force(stored, now) is not None


def test_one_unreadable_change_spoils_only_its_series() -> None:
    wire = WireSeriesFeeChange(
        series_ticker="KXA", id="1", fee_type="quadratic", fee_multiplier=1,
        scheduled_ts="2026-01-01T00:00:00Z",
    )  # fmt: skip
    steps, rejected_rows = announced(
        [wire, msgspec.structs.replace(wire, series_ticker="KXB", scheduled_ts="soon")]
    )
    assert list(steps) == ["KXA"]
    assert [row.ticker for row in rejected_rows] == ["KXB"]


def override(day: int, multiplier: float | None = 0.5, name: str = "KXA-1") -> WireEventFeeChange:
    return WireEventFeeChange(
        event_ticker=name,
        id=f"{name}-{day + 100}",
        fee_type_override=None if multiplier is None else "quadratic",
        fee_multiplier_override=multiplier,
        scheduled_ts=(NOW + day * DAY).isoformat(),
    )


def test_a_change_that_cannot_be_read_is_not_one_that_is_gone() -> None:
    stored = sound(schedule(None, [change(-9), change(-2, "2"), change(4, "3")], [], NOW))
    left = [change(-9), change(5, "4")]
    kept = sound(schedule(None, left, stored, NOW, doubtful=True))
    assert [step.fee_multiplier for step in kept] == [1, 2, 3, 4]
    assert len(schedule(None, left, stored, NOW)) == 2


def test_the_override_in_force_is_the_last_that_has_begun() -> None:
    changes = [override(-1, 0.25), override(-3), override(1, None), override(-2, None, "KXB-1")]
    found, rejected_rows = overrides([*changes, override(5, 0.5, "KXC-1")], NOW)
    assert not rejected_rows
    assert found == {"KXA-1": ("quadratic", Decimal("0.25")), "KXB-1": (None, None)}
    assert overrides(changes, NOW + 2 * DAY)[0]["KXA-1"] == (None, None)


def test_an_override_that_cannot_be_read_is_rejected() -> None:
    bad = [
        WireEventFeeChange(event_ticker="KXA-1", fee_multiplier_override="much", scheduled_ts="x"),
        WireEventFeeChange(event_ticker="KXA-1", fee_multiplier_override="much",
                           scheduled_ts=NOW.isoformat()),
        WireEventFeeChange(event_ticker="KXA-1"),
    ]  # fmt: skip
    found, rejected_rows = overrides([*bad, override(-1)], NOW)
    assert found.keys() == {"KXA-1"}
    assert [row.ticker for row in rejected_rows] == ["KXA-1"] * 3
