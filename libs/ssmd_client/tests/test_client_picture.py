"""A live view's picture and who is told of it, by themselves: whatever changes come."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_client import NotLoaded, rows
from ssmd_client.live.compact import READERS
from ssmd_client.live.fees import cost
from ssmd_client.live.follower import EpochEnded, Follower, Refetch, SnapshotDue
from ssmd_client.live.messages import Change, Message, Missed
from ssmd_client.live.picture import Picture
from ssmd_client.live.readers import Readers, Wanted
from ssmd_client.live.scope import Scope
from ssmd_client.rows import Market
from ssmd_common.tables import PUBLISHED
from ssmd_stream.visibility import Snapshot

NOW = datetime(2026, 2, 3, 22, tzinfo=UTC)


def row(table: str, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(PUBLISHED[table].names) | values


def market(name: str, event: str, series: str, **more: Any) -> dict[str, Any]:
    values = {"status": "active", **more}
    return row("markets", ticker=name, event_ticker=event, series_ticker=series, **values)


class Stream:
    """Messages as cdc publishes them, for a follower."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.sequence = 0
        self.epoch = 1

    def send(self, table: str, op: str, data: Any = None, **more: Any) -> Change | None:
        self.sequence += 1
        key = {"events": "event_ticker", "fees": "tier"}.get(table, "ticker")
        document = {
            "v": 1,
            "lsn": f"0/{self.sequence:X}",
            "seq": 0,
            "xid": 100 + self.sequence,
            "epoch": self.epoch,
            "table": table,
            "op": op,
            "type": "x",
            "ticker": data and data.get(key),
            "key": {key: data[key]} if data else None,
            "data": None if op == "delete" or "error" in more else data,
            "timestamp": "2026-02-03T22:05:00Z",
        }
        payload = json.dumps(document | more).encode()
        return self.follower.apply(Message(self.sequence, f"cdc.{table}.{op}._", payload))


@pytest.fixture
def stream() -> Stream:
    return made(Scope())


def made(scope: Scope, snapshot: Snapshot | None = None) -> Stream:
    return Stream(Follower(Picture(scope), snapshot))


def begin(stream: Stream) -> None:
    """An event comes before its markets, as their foreign key asks for."""
    for number in range(4):
        stream.send(
            "events",
            "insert",
            row("events", event_ticker=f"E{number}", series_ticker=f"S{number % 2}", status="open"),
        )


def tickers(picture: Picture, **asked: Any) -> set[str]:
    return {each.ticker for each in picture.find(**asked)}


TIMES = st.sampled_from([None, *(NOW + timedelta(hours=hours) for hours in range(4))])
MARKETS = st.builds(
    lambda number, event, status, closes, gone: market(
        f"M{number}",
        f"E{event}",
        f"S{event % 2}",
        status=status,
        close_time=closes and closes.isoformat(),
        deleted_at=NOW.isoformat() if gone else None,
    ),
    st.integers(0, 2),
    st.integers(0, 3),
    st.sampled_from(["open", "active", "closed", "settled"]),
    TIMES,
    st.booleans(),
)
EVENTS = st.builds(
    lambda event, category: row(
        "events",
        event_ticker=f"E{event}",
        series_ticker=f"S{event % 2}",
        status="open",
        category=category,
    ),
    st.integers(0, 3),
    st.sampled_from([None, "A", "B"]),
)
SERIES = st.builds(
    lambda series, category, tags: row(
        "series", ticker=f"S{series}", category=category, tags=tags, is_game=bool(series)
    ),
    st.integers(0, 1),
    st.sampled_from([None, "A", "B"]),
    st.sampled_from([None, ["t"], ["t", "u"]]),
)
# Few markets and many steps, so that most steps change a row that there is.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("markets"), st.just("update"), MARKETS),
        st.tuples(st.just("markets"), st.just("update"), MARKETS),
        st.tuples(st.just("markets"), st.sampled_from(["update", "delete"]), MARKETS),
        st.tuples(st.just("events"), st.just("update"), EVENTS),
        st.tuples(st.just("series"), st.just("update"), SERIES),
        st.tuples(st.just("markets"), st.just("truncate"), st.none()),
    ),
    min_size=10,
    max_size=40,
)


def fits(picture: Picture, each: Market, asked: dict[str, Any]) -> bool:
    """The same question without an index."""
    its, event = picture.series.get(each.series_ticker), picture.events.get(each.event_ticker)
    category = (event and event.category) or (its and its.category)
    wanted = set(asked.get("statuses", ()))
    wanted |= {"open", "active"} if "open" in wanted else set()
    closing = asked.get("closing")
    return (
        each.deleted_at is None
        and (not wanted or each.status in wanted)
        and each.series_ticker in asked.get("series", [each.series_ticker])
        and asked.get("event", each.event_ticker) == each.event_ticker
        and category in asked.get("categories", [category])
        and (
            "tags" not in asked
            or (its is not None and bool({*asked["tags"]} & {*(its.tags or ())}))
        )
        and (
            closing is None
            or (
                each.status in ("open", "active")
                and each.close_time is not None
                and closing[0] <= each.close_time < closing[1]
            )
        )
    )


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"series": ["S0"]},
    {"event": "E1"},
    {"categories": ["A"]},
    {"statuses": ["active"]},
    {"statuses": ["open"]},
    {"tags": ["u"]},
    {"closing": (NOW, NOW + timedelta(hours=2))},
    {"closing": (NOW, NOW + timedelta(hours=2)), "statuses": ["active", "settled"]},
    {"series": ["S1"], "categories": ["B"], "statuses": ["settled"], "tags": ["t"]},
]


@given(STEPS)
def test_indexes_find_what_a_look_at_every_row_finds(steps: list[Any]) -> None:
    stream = made(Scope())
    picture = stream.follower._picture
    begin(stream)
    told: dict[str, Market] = {}
    for table, op, data in steps:
        change = stream.send(table, op, data)
        if table == "markets":
            tell(told, change, op)
        for asked in QUESTIONS:
            wanted = {m.ticker for m in picture.markets.values() if fits(picture, m, asked)}
            assert tickers(picture, **asked) == wanted, asked
    assert told == picture.markets


def tell(told: dict[str, Market], change: Change | None, op: str) -> None:
    """What a reader of changes alone knows."""
    if op == "truncate":
        told.clear()
    elif change is not None and change.row is None:
        assert told.pop(change.before.ticker) == change.before
    elif change is not None:
        assert told.get(change.row.ticker) == change.before
        told[change.row.ticker] = change.row


@given(STEPS, st.integers(5, 40))
def test_a_scope_holds_what_of_everything_is_in_it(steps: list[Any], until: int) -> None:
    """A category that changes may ask for a snapshot; until then nothing is wrong."""
    whole, series = made(Scope()), made(Scope.of("S0", None))
    some = made(Scope.of(None, ["A"]))
    for stream in (whole, series, some):
        begin(stream)
    for table, op, data in steps[:until]:
        for stream in (whole, series):
            stream.send(table, op, data)
        try:
            some.send(table, op, data)
        except SnapshotDue:
            break
        everything = whole.follower._picture
        assert tickers(some.follower._picture) == tickers(everything, categories=["A"])
        assert tickers(series.follower._picture) == tickers(everything, series=["S0"])


def test_what_the_snapshot_holds_is_not_applied_again() -> None:
    stream = made(Scope(), Snapshot.parse("102:104:102"))
    assert stream.send("markets", "insert", market("M1", "E", "S")) is None  # xid 101
    assert stream.send("markets", "insert", market("M2", "E", "S")) is not None  # ran then
    assert stream.send("markets", "insert", market("M3", "E", "S")) is None  # was committed
    assert stream.send("markets", "insert", market("M4", "E", "S")) is not None
    assert stream.follower._picture.markets.keys() == {"M2", "M4"}


def test_an_epoch_announces_everything_anew() -> None:
    stream = made(Scope(), Snapshot.parse("1000:1000:"))
    picture = stream.follower._picture
    for name in ("kept", "gone", "late"):
        picture.put("markets", READERS["markets"].read(encoded(market(name, "E", "S"))))
    stream.epoch = 2
    stream.send("markets", "snapshot_begin")
    same = stream.send("markets", "insert", market("kept", "E", "S"), xid=None)
    assert same is None
    stream.send("markets", "insert", market("gone", "E", "S"), xid=None)
    # The epoch is abandoned: its successor begins again.
    stream.epoch = 3
    stream.send("markets", "snapshot_begin")
    stream.send("markets", "insert", market("kept", "E", "S", title="new"), xid=None)
    stream.send("markets", "update", market("late", "E", "S"))
    with pytest.raises(EpochEnded) as ended:
        stream.send("fees", "snapshot_end", final=True)
    assert ended.value.differences == {"markets": 1}
    assert picture.markets.keys() == {"kept", "late"}
    assert picture.markets["kept"].title == "new"
    # A leftover of the epoch before does not count.
    stream.epoch = 2
    assert stream.send("markets", "insert", market("old", "E", "S")) is None


def encoded(data: Any) -> bytes:
    return msgspec.json.encode(data)


def test_a_row_that_was_not_carried_is_asked_for(stream: Stream) -> None:
    carried = market("M1", "E", "S")
    with pytest.raises(Refetch) as missing:
        stream.send("markets", "insert", carried, error="too large")
    assert missing.value.key == {"ticker": "M1"}
    message = Message(stream.sequence, "", b"")
    change = stream.follower.replace(missing.value, message, encoded(carried))
    assert change is not None
    assert change.row.ticker == "M1"
    change = stream.follower.replace(missing.value, message, None)
    assert change is not None
    assert change.row is None
    assert not stream.follower._picture.markets
    with pytest.raises(SnapshotDue):
        stream.send("markets", "update", None, error="unreadable")


@pytest.mark.parametrize("payload", [b"", b"{", b'{"v":99}', b"\xff"])
def test_an_unreadable_message_is_about_the_row_of_its_subject(
    stream: Stream, payload: bytes
) -> None:
    with pytest.raises(Refetch) as missing:
        stream.follower.apply(Message(1, "cdc.markets.update.S.E.M%2E5", payload))
    assert missing.value.key == {"ticker": "M.5"}
    with pytest.raises(SnapshotDue):
        stream.follower.apply(Message(1, "cdc.markets.update._._._", payload))
    assert stream.follower.apply(Message(1, "cdc.other.update.x", payload)) is None


@given(st.lists(st.one_of(st.none(), st.integers(1, 30)), max_size=30), st.integers(1, 10))
def test_a_queue_is_bounded_and_what_was_missed_is_counted(
    steps: list[int | None], most: int
) -> None:
    """None takes one item, a number tells as many changes."""
    stream, readers = made(Scope()), Readers()
    changes = readers.join(Wanted(), most)
    told = taken = missed = 0

    def take() -> bool:
        nonlocal taken, missed
        match item := changes._next():
            case None:
                return False
            case Missed():
                missed += item.count
            case _:
                taken += 1
        return True

    for step in steps:
        for _ in range(step or 0):
            told += 1
            readers.tell(change_of(stream, told))
            assert changes.waiting <= most
        if step is None:
            take()
    while take():
        pass
    assert taken + missed == told


def change_of(stream: Stream, number: int) -> Change:
    change = stream.send("markets", "insert", market(f"M{number}", "E", "S"))
    assert change is not None
    return change


def test_readers_get_what_they_want(stream: Stream) -> None:
    change = change_of(stream, 1)
    for wanted in (
        Wanted(),
        Wanted(series=frozenset("S")),
        Wanted(event="E", market="M1", tables=frozenset(["markets"]), types=frozenset("x")),
    ):
        assert wanted.fits(change)
    for other in (
        Wanted(series=frozenset("T")),
        Wanted(event="F"),
        Wanted(market="M2"),
        Wanted(tables=frozenset(["events"])),
        Wanted(types=frozenset("y")),
    ):
        assert not other.fits(change)


def test_a_callback_that_fails_ends_nothing(
    stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    readers, seen = Readers(), []

    def fails(_: Change) -> None:
        raise RuntimeError("of the user's own")

    readers.on(["x"], fails)
    off = readers.on(["x"], seen.append)
    readers.tell(change_of(stream, 1))
    assert "of the user's own" in caplog.text
    off()
    readers.tell(change_of(stream, 2))
    assert len(seen) == 1


def test_a_fee_is_that_of_the_event_else_of_the_series_then() -> None:
    stream = made(Scope())
    picture = stream.follower._picture
    stream.send("fees", "insert", row("fees", tier="default", maker_fee="0.0175", taker_fee="0.07"))
    stream.send(
        "series", "insert", row("series", ticker="S", fee_type="quadratic", fee_multiplier="2")
    )
    stream.send(
        "events", "insert", row("events", event_ticker="E", series_ticker="S", status="open")
    )
    stream.send("markets", "insert", market("M", "E", "S"))
    assert str(taker(picture)) == "3.5000"
    for begin, end, multiplier in (
        ("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "4"),
        ("2026-01-01T00:00:00Z", None, "1"),
    ):
        step = {
            "series_ticker": "S",
            "fee_type": "quadratic",
            "fee_multiplier": multiplier,
            "effective_from": begin,
            "effective_to": end,
            "source_id": None,
        }
        picture.put("series_fees", READERS["series_fees"].read(encoded(step)))
    assert str(taker(picture)) == "1.7500"
    assert str(taker(picture, datetime(2025, 6, 1, tzinfo=UTC))) == "7.0000"
    assert taker(picture, datetime(2019, 6, 1, tzinfo=UTC)) is None
    stream.send(
        "events",
        "update",
        row(
            "events",
            event_ticker="E",
            series_ticker="S",
            status="open",
            fee_multiplier_override="0",
        ),
    )
    assert str(taker(picture)) == "0.0000"
    stream.send(
        "events",
        "update",
        row(
            "events",
            event_ticker="E",
            series_ticker="S",
            status="open",
            fee_type_override="unheard",
        ),
    )
    assert taker(picture) is None


def taker(picture: Picture, at: datetime = NOW) -> Any:
    found = cost(
        picture, picture.markets["M"], rows.Decimal("0.5"), rows.Decimal(100), "default", at
    )
    return found and found.taker_dollars


def test_a_compact_row_makes_what_is_asked_for_and_tells_what_it_lacks() -> None:
    data = market("M", "E", "S", volume_fp="1.50", custom_strike={"b": [1.5]}, extra={"a": 1})
    compact = READERS["markets"].read(encoded(data))
    assert compact.volume_fp == rows.Decimal("1.50")
    assert compact.custom_strike == {"b": [rows.Decimal("1.5")]}
    assert (compact.open_interest_fp, compact.price_ranges) == (None, None)
    for lacks in (lambda: compact.extra, lambda: compact.rules_primary, lambda: compact.tags):
        with pytest.raises(NotLoaded):
            lacks()
    spaced = encoded(data).replace(b'{"b":[1.5]}', b'{"b": [1.5]}')
    assert READERS["markets"].read(spaced) == compact
    assert "volume_fp=Decimal('1.50')" in repr(compact)


@pytest.mark.parametrize("multivariate", [False, True])
def test_multivariate_rows_are_held_where_they_are_asked_for(multivariate: bool) -> None:
    """Others outnumber what a program wants: neither held nor told, from whatever server."""
    stream = made(Scope(multivariate=multivariate))
    begin(stream)
    combined = {"series_ticker": "S", "mve_collection_ticker": "S-R"}
    event = stream.send(
        "events", "insert", row("events", event_ticker="V", status="open", **combined)
    )
    told = stream.send("markets", "insert", market("V-M", "V", "S", mve_collection_ticker="S-R"))
    picture = stream.follower._picture
    assert ("V" in picture.events, "V-M" in picture.markets) == (multivariate, multivariate)
    assert (event is not None, told is not None) == (multivariate, multivariate)


def test_a_server_of_the_version_before_does_not_tell_what_is_new() -> None:
    older = market("M", "E", "S")
    del older["mve_selected_legs"]
    assert READERS["markets"].read(json.dumps(older).encode()).mve_selected_legs is None
