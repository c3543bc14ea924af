"""Coverage from records alone: each thing that can happen to a capture, and what is said of it."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from made_market_data import BEGAN, Maker

from ssmd_stream.market.coverage import Coverage, State, of_datetime
from ssmd_stream.market.messages import SessionRecord, time_text
from ssmd_stream.market.timeline import Interval, Span, Timeline

END = 1000


def at(second: float) -> datetime:
    return BEGAN + timedelta(seconds=second)


class Session:
    """Records of a session at seconds after the beginning."""

    def __init__(self, name: str = "s1", connector: str = "0") -> None:
        self.maker = Maker(name)
        self.connector = connector

    def __call__(self, second: float, what: str, **more: Any) -> SessionRecord:
        more = {
            name: time_text(at(value))
            if name in ("since", "until") and value is not None
            else value
            for name, value in more.items()
        }
        record = self.maker.record(what, at=at(second), **more)
        record.connector = self.connector
        return record

    def begun(self, second: float, *channels: str) -> list[SessionRecord]:
        subscribed = [
            self(second, "subscribed", of_channel=name, everything=True)
            for name in channels or ("trade", "ticker")
        ]
        return [self(second, "opened"), *subscribed]

    def counts(self, *seconds: float, **more: Any) -> list[SessionRecord]:
        return [self(second, "count", **more) for second in seconds]


def told(
    records: list[SessionRecord], channel: str = "trade", ticker: str | None = None
) -> list[tuple[float, str]]:
    """From which second on which state is, until the end."""
    coverage = Coverage()
    for record in records:
        coverage.take(record)
    begins = of_datetime(BEGAN)
    span = Span(begins, begins + END * 1_000_000)
    line = coverage.timeline(channel, ticker, span)
    # Markets of which the same is said share their intervals, others do not.
    for market in (*TICKERS, ticker):
        alone = coverage.timeline(channel, market, span).intervals()
        assert coverage.intervals(channel, market, span) == alone
    joined: list[tuple[float, str]] = []
    for interval in line.intervals():
        if not joined or joined[-1][1] != interval.state:
            joined.append(((interval.since - begins) / 1e6, interval.state))
    return joined


TICKERS = ("M", "A", "B", "KXMVE-A", "OTHER", None)
OFF, OK, GAP = State.NOT_SUBSCRIBED, State.COMPLETE, State.GAP
UNKNOWN, REPAIRED = State.UNKNOWN, State.REPAIRED


def test_a_session_is_whole_from_its_subscription_to_its_end() -> None:
    session = Session()
    records = [*session.begun(10), *session.counts(15, 20, 25), session(25, "closed")]
    assert told(records) == [(0, OFF), (10, OK), (25, OFF)]
    assert told(records, "book", "M") == [(0, OFF)]


def test_after_a_crash_nothing_is_known_beyond_the_last_count() -> None:
    first, second = Session("s1"), Session("s2")
    records = [*first.begun(10), *first.counts(15, 20)]
    assert told(records) == [(0, OFF), (10, OK), (20, UNKNOWN)]
    records += [*second.begun(50), *second.counts(60), second(60, "closed")]
    assert told(records) == [(0, OFF), (10, OK), (20, UNKNOWN), (50, OK), (60, OFF)]
    # Without a single count nothing is known of it.
    assert told(first.begun(10)) == [(0, OFF), (10, UNKNOWN)]


def test_a_count_says_nothing_of_what_was_not_heard() -> None:
    """A connection that was dead, and whose process was killed before it could say so."""
    first, second = Session("s1"), Session("s2")
    records = [
        *first.begun(10), *first.counts(15, until=14.9), *first.counts(20, 25, until=16),
        first(25, "closed"), *first.counts(30, until=16), *second.begun(50),
        *second.counts(60, until=59), second(60, "closed"),
    ]  # fmt: skip
    assert told(records) == [
        (0, OFF), (10, OK), (16, UNKNOWN), (25, OFF), (50, OK), (59, UNKNOWN), (60, OFF)
    ]  # fmt: skip


def test_a_repair_mends_trades_and_nothing_else() -> None:
    first, second = Session("s1"), Session("s2")
    records = [
        *first.begun(10), *first.counts(20),
        *second.begun(50), second(51, "repaired", of_channel="trade", since=19, until=50),
        *second.counts(60), second(60, "closed"),
    ]  # fmt: skip
    assert told(records) == [(0, OFF), (10, OK), (20, REPAIRED), (50, OK), (60, OFF)]
    assert told(records, "ticker") == [(0, OFF), (10, OK), (20, UNKNOWN), (50, OK), (60, OFF)]


def test_a_gap_counts_more_than_counts_that_went_on() -> None:
    session = Session()
    records = [
        *session.begun(10), *session.counts(20, 30, 40),
        session(40, "gap", of_channel="ticker", since=25, until=40),
        *session.counts(50), session(50, "closed"),
    ]  # fmt: skip
    assert told(records) == [(0, OFF), (10, OK), (50, OFF)]
    assert told(records, "ticker") == [(0, OFF), (10, OK), (25, GAP), (40, OK), (50, OFF)]
    # One of the whole connection is of every channel; the first of a process has no beginning.
    records.insert(6, session(40, "gap", since=30, until=40))
    records.insert(3, session(10, "gap", of_channel="trade"))
    assert told(records) == [(0, OFF), (10, OK), (30, GAP), (40, OK), (50, OFF)]


def test_what_found_no_room_is_a_gap_between_the_counts_that_say_so() -> None:
    session = Session()
    records = [
        *session.begun(10), *session.counts(20), *session.counts(30, dropped={"ticker": 3}),
        *session.counts(40, 50, dropped={"ticker": 9}), session(50, "closed"),
    ]  # fmt: skip
    assert told(records, "ticker") == [(0, OFF), (10, OK), (20, GAP), (40, OK), (50, OFF)]
    assert told(records) == [(0, OFF), (10, OK), (50, OFF)]
    # It leads anew and counts from 0: 2 are new ones.
    records[-1:] = [
        *session.counts(60, dropped={"ticker": 2}), *session.counts(70), session(70, "closed"),
    ]  # fmt: skip
    assert told(records, "ticker")[3:] == [(40, OK), (50, GAP), (60, OK), (70, OFF)]
    # What only the record itself says.
    record = session(25, "dropped", published={"trade": 5})
    assert told([*records[:4], record, *records[4:]]) == [
        (0, OFF), (10, OK), (20, GAP), (25, OK), (70, OFF),
    ]  # fmt: skip


def test_books_have_lists_and_a_gap_lasts_until_the_snapshot_is_there() -> None:
    session = Session()
    gap = session(40, "gap", of_channel="orderbook_delta", since=35, until=40)
    book = {"of_channel": "orderbook_delta"}
    records = [
        session(10, "opened"), session(10, "subscribed", **book, yes_price=True),
        session(10, "added", **book, tickers=("A", "B")), *session.counts(20),
        session(25, "added", **book, tickers=("C",)), *session.counts(30),
        session(32, "removed", **book, tickers=("B",)), gap,
        session(42, "resnapshot", **book, tickers=("A",)), *session.counts(50, 60),
        session(60, "closed"),
    ]  # fmt: skip
    assert told(records, "book", "A") == [(0, OFF), (10, OK), (35, GAP), (50, OK), (60, OFF)]
    assert told(records, "book", "B")[:3] == [(0, OFF), (10, OK), (32, OFF)]
    # Nobody asked for C's snapshot.
    assert told(records, "book", "C") == [(0, OFF), (25, OK), (35, GAP), (60, OFF)]
    assert told(records, "book", "D") == [(0, OFF)]


def test_an_error_ends_a_channel_alone() -> None:
    session = Session()
    records = [
        *session.begun(10), *session.counts(20), session(25, "error", of_channel="ticker", code=25),
        *session.counts(30), session(35, "subscribed", of_channel="ticker", everything=True),
        *session.counts(40), session(40, "closed"),
    ]  # fmt: skip
    assert told(records, "ticker") == [(0, OFF), (10, OK), (25, OFF), (35, OK), (40, OFF)]
    assert told(records) == [(0, OFF), (10, OK), (40, OFF)]
    # What was refused was never heard.
    records = [*session.begun(10, "trade"), session(10, "refused", of_channel="ticker", code=9)]
    assert told([*records, *session.counts(20)], "ticker") == [(0, OFF)]


def test_a_standby_takes_over_with_what_it_heard() -> None:
    first, second = Session("s1"), Session("s2")
    records = [*first.begun(10), *first.counts(20)]
    records += [second(33, "takeover", since=18), *second.counts(40), second(40, "closed")]
    assert told(records, "ticker") == [(0, OFF), (10, OK), (40, OFF)]
    # Where it heard nothing: from when it is subscribed.
    records[4] = second(33, "takeover", since=None)
    assert told(records, "ticker") == [(0, OFF), (10, OK), (20, UNKNOWN)]


def test_books_of_a_standby_begin_with_their_snapshots() -> None:
    first, second = Session("s1"), Session("s2")
    book = {"of_channel": "orderbook_delta"}
    records = [
        first(10, "opened"), first(10, "subscribed", **book),
        first(10, "added", **book, tickers=("A", "B")), *first.counts(20),
        second(33, "takeover", **book, tickers=("A", "B")),
        second(33, "gap", **book, since=22, until=33),
        second(34, "resnapshot", **book, tickers=("A",)), *second.counts(35, 40),
        second(40, "closed"),
    ]  # fmt: skip
    assert told(records, "book", "A") == [
        (0, OFF), (10, OK), (20, UNKNOWN), (22, GAP), (35, OK), (40, OFF),
    ]  # fmt: skip
    # B's snapshot never came.
    assert told(records, "book", "B") == [
        (0, OFF), (10, OK), (20, UNKNOWN), (22, GAP), (40, OFF),
    ]  # fmt: skip


def test_what_a_standby_takes_over_begins_later_than_what_is_added() -> None:
    first, second = Session("s1"), Session("s2")
    book = {"of_channel": "orderbook_delta"}
    records = [
        *first.begun(10, "orderbook_delta"), *first.counts(20), first(20, "closed"),
        second(33, "takeover", **book, tickers=("A",)), second(33, "added", **book, tickers=("B",)),
        second(33, "gap", **book, since=20, until=30), *second.counts(40), second(40, "closed"),
    ]  # fmt: skip
    assert told(records, "book", "A")[-2:] == [(33, GAP), (40, OFF)]
    assert told(records, "book", "B")[-2:] == [(33, OK), (40, OFF)]


def test_what_the_scope_leaves_out_is_not_subscribed() -> None:
    session = Session()
    records = [
        *session.begun(10), session(10, "scope", selectors=[{"series": ["KXA"]}]),
        session(20, "left_out", tickers=("B", "C")), *session.counts(20),
        session(30, "gap", of_channel="ticker", since=25, until=30), *session.counts(35),
        session(38, "repaired", since=25, until=30, trades=0),
        session(40, "scope", multivariate=True), *session.counts(50),
        session(55, "left_out", tickers=("C",)), *session.counts(60), session(60, "closed"),
    ]  # fmt: skip
    assert told(records, "ticker", "A") == [(0, OFF), (10, OK), (25, GAP), (30, OK), (60, OFF)]
    assert told(records, "ticker", "B") == [(0, OFF), (40, OK), (60, OFF)]
    assert told(records, "trade", "C") == [(0, OFF)]
    assert told(records, "trade", "KXMVE-1") == [(0, OFF), (40, OK), (60, OFF)]
    assert told(records, "trade") == [(0, OFF), (10, OK), (60, OFF)]
    # Nor was anything of it among what was read again of the time before.
    early = session(15, "repaired", since=2, until=9, trades=3)
    more = [*records[:4], early, *records[4:]]
    assert told(more, "trade", "A")[:4] == [(0, OFF), (2, REPAIRED), (9, OFF), (10, OK)]
    assert told(more, "trade", "B") == [(0, OFF), (40, OK), (60, OFF)]
    # Another session tells its own, one that takes over of what it heard before, too.
    other = Session("s2")
    records[-1:] = [
        other(65, "takeover", since=58), other(65, "scope", since=58, multivariate=False),
        other(66, "left_out", tickers=("B",)), *other.counts(70), other(70, "closed"),
    ]  # fmt: skip
    assert told(records, "trade", "B") == [(0, OFF), (40, OK), (58, OFF)]
    assert told(records, "trade", "A") == [(0, OFF), (10, OK), (70, OFF)]


def test_the_scope_of_a_standby_that_heard_before_its_leader_did_holds() -> None:
    """The leader connected anew while the standby went on hearing; then the leader was killed."""
    leader, standby = Session("s1"), Session("s2")
    records = [
        *leader.begun(20), leader(20, "scope"), leader(25, "left_out", tickers=("B",)),
        *leader.counts(30, 40),
        standby(45, "takeover", since=12), standby(45, "scope", since=12),
        standby(46, "left_out", tickers=("B",)), *standby.counts(50, 60),
    ]  # fmt: skip
    assert told(records, "trade", "A") == [(0, OFF), (12, OK), (60, UNKNOWN)]
    assert told(records, "trade", "B") == [(0, OFF)]


def test_of_two_connectors_the_better_one_counts() -> None:
    one, other = Session("s1", "0"), Session("s2", "1")
    records = [
        *one.begun(10), *one.counts(20), *other.begun(15), *other.counts(30, 40),
        one(30, "gap", of_channel="trade", since=20, until=30), *one.counts(50),
        other(40, "closed"), one(50, "closed"),
    ]  # fmt: skip
    assert told(records) == [(0, OFF), (10, OK), (50, OFF)]


def test_a_session_whose_beginning_is_missing_is_unknown() -> None:
    session = Session()
    assert told(session.counts(20, 30)) == [(0, OFF), (20, UNKNOWN)]
    records = [*session.counts(20, 30), session(30, "closed")]
    assert told(records) == [(0, OFF), (20, UNKNOWN), (30, OFF)]


MOMENTS = st.integers(-5, 25)


@given(
    st.lists(
        st.tuples(
            MOMENTS, MOMENTS, st.sampled_from("abc"), st.none() | st.sets(st.sampled_from("abc"))
        ),
        max_size=12,
    )
)
def test_a_timeline_is_what_a_list_of_moments_would_be(
    paints: list[tuple[int, int, str, set[str] | None]],
) -> None:
    line, moments = Timeline(Span(0, 20), "a", ""), ["a"] * 20
    for since, until, state, over in paints:
        line.paint(Interval(since, until, state), over=over)
        for moment in range(max(since, 0), min(until, 20)):
            if over is None or moments[moment] in over:
                moments[moment] = state
    found = line.intervals()
    assert [i.state for i in found for _ in range(i.since, i.until)] == moments
    assert [line.state_at(moment) for moment in range(20)] == moments
    assert (found[0].since, found[-1].until) == (0, 20)
    assert all(a.until == b.since and a.state != b.state for a, b in pairwise(found))
