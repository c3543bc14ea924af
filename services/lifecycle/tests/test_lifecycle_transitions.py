"""What messages make of a market: the rules, and that the order of arrival does not matter."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssmd_kalshi.feed import Message
from ssmd_lifecycle.apply.transitions import (
    EventState,
    MarketState,
    advance,
    advance_event,
    born,
    differences,
)
from ssmd_lifecycle.clock.timed import after as after_transition
from ssmd_lifecycle.clock.timed import due
from ssmd_lifecycle.feed.messages import Kind, LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_message

T0 = datetime(2026, 11, 21, 3, tzinfo=UTC)
TICKER = "KXA-26NOV21-T1.5"


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def message(kind: str, sent: float, *, seq: int | None = None, **fields: Any) -> LifecycleMessage:
    body: dict[str, Any] = {"market_ticker": TICKER, "event_type": kind}
    for name, value in fields.items():
        body[name] = int(at(value).timestamp()) if name.endswith("_ts") else value
    if kind == "created":
        body["additional_metadata"] = {"event_ticker": "KXA-26NOV21", "title": "A?"}
    document = {"type": "market_lifecycle_v2", "sid": 1, "seq": seq, "msg": body}
    return parse_message(
        Message(
            type="market_lifecycle_v2",
            sid=1,
            seq=seq,
            sent_at=at(sent),
            msg=body,
            raw=msgspec.json.encode(document),
            received_at=at(sent + 0.01),
        )
    )


CREATED = message("created", 0, open_ts=10, close_ts=20)


def after(
    state: MarketState, *messages: LifecycleMessage, now: float = 1000, history: Iterable[Any] = ()
) -> MarketState:
    keys = {m.dedupe_key for m in messages}
    return advance(state, keys, [*messages, *history], at(now))


def market(**columns: Any) -> MarketState:
    start = after(born(CREATED, "KXA"), CREATED, now=1)
    return replace(start, **columns)


def test_created_makes_an_open_market_from_its_own_metadata() -> None:
    made = market()
    assert (made.status, made.exchange_status) == ("open", "initialized")
    assert (made.event_ticker, made.series_ticker, made.title) == ("KXA-26NOV21", "KXA", "A?")
    assert (made.open_time, made.close_time) == (at(10), at(20))
    assert (made.observed_at, made.observed_via) == (at(0.01), "ws")


def test_a_pause_is_not_an_end() -> None:
    trading = market(status="active", exchange_status="active")
    paused = after(trading, message("deactivated", 12), now=12)
    assert (paused.status, paused.exchange_status) == ("open", "inactive")
    again = after(paused, message("activated", 13), now=13)
    assert (again.status, again.exchange_status) == ("active", "active")


def test_determined_closes_and_brings_the_result() -> None:
    done = after(
        market(status="active"), message("determined", 15, result="yes", settlement_value="1.0000")
    )
    assert (done.status, done.exchange_status) == ("closed", "determined")
    assert (done.result, done.settlement_value_dollars) == ("yes", Decimal("1.0000"))
    over = after(done, message("settled", 16, settled_ts=16))
    assert (over.status, over.exchange_status, over.settled_time) == (
        "settled",
        "finalized",
        at(16),
    )
    assert over.result == "yes"


@pytest.mark.parametrize(
    "late",
    [
        CREATED,
        message("activated", 1),
        message("deactivated", 1),
        message("close_date_updated", 1, close_ts=5000),
        message("determined", 1, result="no"),
    ],
)
def test_a_late_message_never_takes_back_a_settlement(late: LifecycleMessage) -> None:
    settled = message("settled", 30, settled_ts=30)
    determined = message("determined", 25, result="yes")
    over = after(market(), determined, settled, now=31)
    later = after(over, late, now=40, history=[determined, settled])
    assert (later.status, later.exchange_status, later.result) == ("settled", "finalized", "yes")


def test_what_rest_said_later_stands() -> None:
    told = market(
        observed_at=at(100),
        observed_via="rest",
        status="active",
        exchange_status="active",
        close_time=at(500),
        yes_sub_title="from REST",
    )
    old = [
        message("close_date_updated", 90, close_ts=200),
        message("metadata_updated", 90, yes_sub_title="old"),
        message("deactivated", 90),
        CREATED,
    ]
    assert after(told, *old, now=101) is told


def test_what_a_message_said_after_rest_wins() -> None:
    told = market(
        observed_at=at(100), observed_via="rest", status="active", exchange_status="active"
    )
    moved = after(told, message("close_date_updated", 101, close_ts=900), now=101)
    assert moved.close_time == at(900)
    assert (moved.observed_at, moved.observed_via) == (at(101.01), "ws")


def test_what_was_sent_just_before_rest_was_asked_may_not_be_in_its_reply() -> None:
    told = market(
        observed_at=at(100), observed_via="rest", status="active", exchange_status="active"
    )
    paused = after(told, message("deactivated", 99.5), now=101)
    assert (paused.status, paused.exchange_status) == ("open", "inactive")


def test_a_determination_that_rest_did_not_show_yet_counts() -> None:
    told = market(
        observed_at=at(100), observed_via="rest", status="active", exchange_status="active"
    )
    done = after(told, message("determined", 99.9, result="yes"), now=101)
    assert (done.status, done.result) == ("closed", "yes")


def test_an_older_determination_does_not_undo_an_amendment() -> None:
    told = market(
        observed_at=at(100),
        observed_via="rest",
        status="closed",
        exchange_status="amended",
        result="no",
    )
    assert after(told, message("determined", 90, result="yes"), now=101) is told


def test_a_close_that_moves_away_takes_back_the_clocks_closing() -> None:
    trading = market(status="active")
    closing = due(trading, at(21))
    assert closing is not None
    closed = after_transition(trading, closing.kind, at(21))
    assert closed.status == "closed"
    again = after(closed, message("close_date_updated", 19.9, close_ts=60), now=21.2)
    assert again.status == "active"
    assert again.close_time == at(60)


def test_within_a_millisecond_the_sequence_number_decides() -> None:
    first = message("close_date_updated", 12, seq=7, close_ts=90)
    second = message("close_date_updated", 12, seq=8, close_ts=50)
    for arrivals in ((first, second), (second, first)):
        assert after(market(), *arrivals, now=13).close_time == at(50)
    third = message("close_date_updated", 12, seq=6, close_ts=70)
    assert after(market(), third, now=13, history=[first, second]).close_time == at(20)


def test_a_repetition_changes_nothing() -> None:
    pause = message("deactivated", 12)
    paused = after(market(status="active", exchange_status="active"), pause, now=12)
    assert after(paused, pause, now=13) is paused


def test_an_unknown_word_of_the_exchange_keeps_the_status() -> None:
    strange = market(status="active", exchange_status="auction")
    renamed = after(strange, message("metadata_updated", 5, yes_sub_title="x"), now=6)
    assert (renamed.status, renamed.exchange_status) == ("active", "auction")


def test_created_again_brings_back_a_deleted_market() -> None:
    gone = market(deleted_at=at(50))
    assert after(gone, message("created", 60, open_ts=70, close_ts=80), now=61).deleted_at is None
    assert after(gone, message("created", 40, open_ts=70, close_ts=80), now=61).deleted_at == at(50)


STORED = {
    "trading": {"status": "active", "exchange_status": "active"},
    "closed": {"status": "closed", "exchange_status": "closed"},
    "determined": {"status": "closed", "exchange_status": "amended"},
    "settled": {"status": "settled", "exchange_status": "finalized"},
}
# Stored at 100. Sent at 97 (REST knew of it), 99 (it may not), 101: what counts.
TABLE = {
    "settled": {"trading": "yyy", "closed": "yyy", "determined": "yyy", "settled": "---"},
    "determined": {"trading": "yyy", "closed": "yyy", "determined": "-yy", "settled": "---"},
    "activated": {"trading": "-yy", "closed": "--y", "determined": "---", "settled": "---"},
    "deactivated": {"trading": "-yy", "closed": "---", "determined": "---", "settled": "---"},
}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("kind", TABLE)
def test_what_a_message_makes_of_exchange_status(kind: str, stored: str) -> None:
    becomes = {"settled": "finalized", "determined": "determined", "deactivated": "inactive"}
    for via in ("rest", "ws"):
        before = market(observed_at=at(100), observed_via=via, **STORED[stored])
        if before.exchange_status == "active" and kind == "activated":
            before = replace(before, exchange_status="inactive", status="open")
        expected = TABLE[kind][stored]
        if via == "ws":
            # REST did not say what is stored: it knew of nothing.
            expected = expected.replace("-yy", "---" if stored == "determined" else "yyy")
        for sent, counts in zip((97, 99, 101), expected, strict=True):
            found = after(before, message(kind, sent), now=102).exchange_status
            assert found == (
                becomes.get(kind, "active") if counts == "y" else before.exchange_status
            )


# --- any order, any repetition --------------------------------------------------------------------


def replayed(
    arrivals: Sequence[LifecycleMessage], times: Sequence[float], end: float
) -> MarketState | None:
    """Messages in the order of their arrival, the clock at work in between and at the end."""
    state: MarketState | None = None
    stored: dict[str, LifecycleMessage] = {}
    for arriving, now in zip(arrivals, times, strict=True):
        state = clocked(state, now)
        if arriving.dedupe_key in stored:
            continue
        stored[arriving.dedupe_key] = arriving
        history = list(stored.values())
        if state is not None:
            state = advance(state, {arriving.dedupe_key}, history, at(now))
        elif created := [m for m in history if m.kind is Kind.CREATED]:
            state = advance(born(created[0], "KXA"), set(stored), history, at(now))
    return clocked(state, end)


def clocked(state: MarketState | None, now: float) -> MarketState | None:
    while state is not None and (chance := due(state, at(now))):
        state = after_transition(state, chance.kind, at(now))
    return state


def truth(state: MarketState | None) -> dict[str, Any]:
    assert state is not None
    start = MarketState(ticker="", event_ticker="", series_ticker="")
    different = differences(start, state)
    return {name: value for name, value in different.items() if not name.startswith("observed")}


@st.composite
def lives(draw: st.DrawFn) -> list[LifecycleMessage]:
    """What an exchange may say of one market, in its order."""
    opening = draw(st.integers(1, 30))
    said = [message("created", 0, open_ts=opening, close_ts=opening + draw(st.integers(1, 60)))]
    now = 0.0
    for _ in range(draw(st.integers(0, 7))):
        # Whole milliseconds, as the exchange has them; several within one are told apart by seq.
        now += draw(st.sampled_from([0.0, 0.001, 0.5, 3.0, 11.0]))
        seq = len(said)
        match draw(st.integers(0, 5)):
            case 0:
                said.append(message("activated", now, seq=seq))
            case 1:
                said.append(message("deactivated", now, seq=seq))
            case 2:
                close = now + draw(st.integers(-5, 90))
                said.append(message("close_date_updated", now, seq=seq, close_ts=close))
            case 3:
                floor = draw(st.integers(1, 9))
                said.append(message("metadata_updated", now, seq=seq, floor_strike=floor))
            case 4:
                word = draw(st.sampled_from(["deci_cent", "linear_cent"]))
                said.append(
                    message(
                        "price_level_structure_updated", now, seq=seq, price_level_structure=word
                    )
                )
            case _:
                title = draw(st.sampled_from(["one", "two", ""]))
                said.append(message("metadata_updated", now, seq=seq, yes_sub_title=title))
    if draw(st.booleans()):
        now += draw(st.integers(0, 60))
        result = draw(st.sampled_from(["yes", "no", "scalar"]))
        said.append(message("determined", now, seq=90, result=result, settlement_value="0.5000"))
        if draw(st.booleans()):
            now += draw(st.integers(0, 60))
            said.append(message("settled", now, seq=91, settled_ts=now))
    # The same words in the same millisecond are one message, by the definition of dedupe_key.
    return list({m.dedupe_key: m for m in reversed(said)}.values())[::-1]


@settings(
    max_examples=settings().max_examples * 2,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(lives(), st.data())
def test_any_order_and_repetition_ends_like_the_right_order(
    life: list[LifecycleMessage], data: st.DataObject
) -> None:
    repeated = life + data.draw(st.lists(st.sampled_from(life), max_size=4))
    arrivals = data.draw(st.permutations(repeated))
    right = [(m.heard_at - T0).total_seconds() for m in life]
    now, times = 0.0, []
    for arriving in arrivals:
        sent = (arriving.heard_at - T0).total_seconds()
        now = max(now, sent) + data.draw(st.sampled_from([0.0, 0.02, 4.0]))
        times.append(now)
    end = max(now, right[-1]) + data.draw(st.sampled_from([0.0, 5.0, 200.0]))
    assert truth(replayed(arrivals, times, end)) == truth(replayed(life, right, end))


# --- events ---------------------------------------------------------------------------------------


def fee(sent: float, fee_type: str | None, multiplier: float | None) -> LifecycleMessage:
    body = {
        "event_ticker": "KXA-26NOV21",
        "fee_type_override": fee_type,
        "fee_multiplier_override": multiplier,
    }
    return parse_message(
        Message(
            "event_fee_update",
            1,
            None,
            at(sent),
            body,
            msgspec.json.encode({"type": "event_fee_update", "msg": body}),
            at(sent),
        )
    )


def test_the_last_fee_update_decides_in_any_order() -> None:
    first, second = fee(1, "quadratic", 0.5), fee(2, None, None)
    event = EventState(event_ticker="KXA-26NOV21", series_ticker="KXA")
    set_ = advance_event(event, {first.dedupe_key}, [first])
    assert set_.fee_multiplier_override == Decimal("0.5")
    cleared = advance_event(set_, {second.dedupe_key}, [first, second])
    assert cleared.fee_type_override is None
    late = advance_event(event, {second.dedupe_key}, [second])
    assert advance_event(late, {first.dedupe_key}, [first, second]) is late


def test_a_fee_update_older_than_rests_event_changes_nothing() -> None:
    event = EventState(event_ticker="KXA-26NOV21", series_ticker="KXA", exchange_updated_at=at(5))
    old = fee(4, "quadratic", 1)
    assert advance_event(event, {old.dedupe_key}, [old]) is event


def test_a_stamp_that_is_still_to_come_outweighs_no_message() -> None:
    """A wrong clock left it there: REST cannot have known what is said now."""
    stored = market(status="active", exchange_status="active", observed_via="rest")
    pause = message("deactivated", 60)
    wrong = after(replace(stored, observed_at=at(3600)), pause, now=61)
    assert (wrong.status, wrong.exchange_status) == ("open", "inactive")
    assert (wrong.observed_at, wrong.observed_via) == (at(60.01), "ws")
    # One that a clock may have given that is allowed to write knew of it.
    right = replace(stored, observed_at=at(80))
    assert after(right, pause, now=61) is right
    unchanged = replace(stored, observed_at=at(3600))
    assert after(unchanged, message("activated", 60), now=61).exchange_status == "active"
