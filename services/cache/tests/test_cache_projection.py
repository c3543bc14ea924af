"""The rules, row by row."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_cache.follower import messages
from ssmd_cache.follower.messages import Announcement, EndOfEpoch, Refetch, Rewarm
from ssmd_cache.projection.commands import Command, coalesce
from ssmd_cache.projection.facts import EventFacts, MarketFacts, facts_of
from ssmd_cache.projection.project import project, seconds, value
from ssmd_cache.projection.records import position_of, sortable
from ssmd_cache.writer.names import glob
from ssmd_common.keys import Keys
from ssmd_stream import change
from ssmd_stream.change import Position
from ssmd_stream.errors import UnreadableMessage
from ssmd_stream.visibility import Snapshot

NOW = datetime(2026, 2, 3, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
KEYS = Keys("p:")


def market(**columns: Any) -> Any:
    facts = {"ticker": "M", "event_ticker": "E", "series_ticker": "S", "updated_at": NOW}
    return project(MarketFacts(**{**facts, **columns}), KEYS, NOW)


def event(**columns: Any) -> Any:
    facts = {"ticker": "E", "series_ticker": "S", "updated_at": NOW}
    return project(EventFacts(**{**facts, **columns}), KEYS, NOW)


@pytest.mark.parametrize("status", ["open", "active"])
def test_open_and_active_markets_are_listed_without_an_end(status: str) -> None:
    record = market(status=status, close_time=NOW - 9 * DAY)
    assert (record.key, record.expires) == ("p:secmaster:series:S:E:M", "")
    assert (record.listed, record.closes) == ("1", str((NOW - 9 * DAY).timestamp()))
    assert market(status=status).closes == ""


def test_a_closed_market_stays_until_settled() -> None:
    record = market(status="closed", close_time=NOW - 9 * DAY)
    assert (bool(record.key), record.listed, record.expires) == (True, "0", "")


@pytest.mark.parametrize(
    ("close_time", "settled_time", "updated_at", "ends"),
    [
        (NOW - HOUR, NOW, NOW, NOW - HOUR + DAY),
        (NOW, NOW - HOUR, NOW, NOW - HOUR + DAY),
        (NOW, None, NOW, NOW + DAY),
        (None, NOW - 9 * DAY, NOW - HOUR, NOW - HOUR + DAY),
        (NOW - DAY, NOW, NOW, None),
        (NOW, NOW - 2 * DAY, NOW, None),
        (NOW - DAY + timedelta(milliseconds=1), None, NOW, NOW + timedelta(milliseconds=1)),
    ],
)
def test_a_settled_market_ends_a_day_after_close_or_settlement(
    close_time: Any, settled_time: Any, updated_at: Any, ends: Any
) -> None:
    record = market(
        status="settled", close_time=close_time, settled_time=settled_time, updated_at=updated_at
    )
    assert (record.key == "") is (ends is None)
    assert record.expires == ("" if ends is None else str(round(ends.timestamp() * 1000)))
    assert record.listed == "0"


def test_events_end_a_day_after_their_strike() -> None:
    assert event(status="open", strike_date=NOW - 9 * DAY).expires == ""
    ends = event(status="closed", strike_date=NOW - HOUR).expires
    assert ends == str(round((NOW - HOUR + DAY).timestamp() * 1000))
    assert event(status="settled").expires == str(round((NOW + DAY).timestamp() * 1000))
    gone = event(status="settled", strike_date=NOW - DAY, category="C")
    assert (gone.key, gone.category) == ("", "C")
    assert event(status="open", deleted_at=NOW, category="C").key == ""


def test_a_soft_deleted_market_has_no_key() -> None:
    assert market(status="active", deleted_at=NOW).key == ""
    assert market(status="active", deleted_at=NOW).listed == "0"


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001
def test_scores_are_exact_epoch_seconds(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    assert float(seconds(moment)) == moment.timestamp()


def test_a_value_is_the_row_with_its_stamps() -> None:
    row = '{"ticker":"Ü\\"","n":"0.4500"}'.encode()
    assert msgspec.json.decode(value(row, Position(3, 0x16B3748, 17))) == {
        "ticker": 'Ü"',
        "n": "0.4500",
        "epoch": 3,
        "lsn": "0/16B3748",
        "seq": 17,
    }


def test_times_that_no_clock_shows_count_as_none() -> None:
    row = {
        "ticker": "M",
        "event_ticker": "E",
        "series_ticker": "S",
        "status": "settled",
        "close_time": "infinity",
        "settled_time": "-0043-03-15T00:00:00Z",
        "updated_at": "+12000-01-01T00:00:00Z",
    }
    facts = facts_of("markets", msgspec.json.encode(row))
    assert isinstance(facts, MarketFacts)
    assert (facts.close_time, facts.settled_time) == (None, None)


def test_rows_of_another_shape_are_refused() -> None:
    for row in (b"{", b"[]", b'{"ticker":1}', b'{"ticker":"M"}'):
        with pytest.raises(UnreadableMessage):
            facts_of("markets", row)


POSITIONS = st.builds(
    Position, st.integers(0, 2**31), st.integers(0, 2**64 - 1), st.integers(0, 2**31)
)


@given(POSITIONS, POSITIONS)
def test_sortable_text_sorts_as_positions_do(one: Position, other: Position) -> None:
    assert (sortable(one) < sortable(other)) is (one < other)
    assert position_of(f"{sortable(one)}~0000000000000007") == one


def test_a_glob_matches_just_its_text() -> None:
    assert glob("a*b?[c]\\") == "a\\*b\\?\\[c\\]\\\\"


def message(**more: Any) -> change.Head:
    row = {
        "ticker": "M",
        "event_ticker": "E",
        "series_ticker": "S",
        "status": "active",
        "updated_at": "2026-02-03T12:00:00Z",
    }
    envelope = {
        "v": 1,
        "lsn": "0/10",
        "seq": 0,
        "epoch": 1,
        "table": "markets",
        "op": "update",
        "xid": 100,
        "key": {"ticker": "M"},
        "data": row,
        **more,
    }
    return change.decode_head(msgspec.json.encode(envelope))


def effect(epoch: int = 1, snapshot: Snapshot | None = None, **more: Any) -> Any:
    made = message(**more)
    return messages.effect(made, made.position, epoch, snapshot, KEYS)


def test_what_each_message_does() -> None:
    seen, unseen = Snapshot(101, 101, frozenset()), Snapshot(100, 100, frozenset())
    assert isinstance(effect(), Command)
    assert effect(snapshot=seen) is None
    assert isinstance(effect(snapshot=unseen), Command)
    assert isinstance(effect(snapshot=seen, xid=None), Command)
    assert effect(epoch=2) is None
    assert effect(table="fees") is None
    assert effect(op="delete", data=None).record.key == ""
    assert isinstance(effect(op="delete", data=None, key=None), Rewarm)
    assert isinstance(effect(op="truncate", data=None, key=None), Rewarm)
    assert effect(data=None, error="too large") == Refetch("markets", "M", Position(1, 16, 0))
    assert isinstance(effect(data=None, error="too large", key=None), Rewarm)
    begin = {"op": "snapshot_begin", "data": None, "key": None, "xid": None}
    assert effect(**begin) == Announcement(1)
    assert effect(**begin | {"op": "snapshot_end"}) is None
    assert effect(**begin | {"op": "snapshot_end", "final": True, "table": "fees"}) == EndOfEpoch(1)
    soft = msgspec.json.decode(message().data) | {"deleted_at": "2026-02-03T12:00:00Z"}
    assert effect(data=soft).record.key == ""


def test_messages_of_another_version_are_refused() -> None:
    with pytest.raises(UnreadableMessage, match="version is 2"):
        message(v=2)
    for wrong in ({"lsn": "x"}, {"epoch": 1 << 32}, {"seq": -1}, {"epoch": -1}):
        with pytest.raises(UnreadableMessage):
            _ = message(**wrong).position


def test_of_several_commands_about_a_row_the_latest_counts() -> None:
    commands = [effect(seq=seq) for seq in (0, 2, 1)] + [effect(op="delete", data=None, seq=3)]
    assert coalesce(commands[:3]) == [commands[1]]
    assert coalesce(commands) == [commands[3]]
