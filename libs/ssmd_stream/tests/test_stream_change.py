"""Names on the stream, the envelope, and the rule that joins a snapshot to it."""

from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_common import sql
from ssmd_common.leader import lock_key
from ssmd_stream.change import Position, decode, format_lsn, parse_lsn
from ssmd_stream.errors import UnreadableMessage
from ssmd_stream.subjects import subject, table_subject, token
from ssmd_stream.visibility import Snapshot, applies, widen

MESSAGE = {
    "v": 1, "lsn": "0/16B3748", "seq": 17, "xid": 734219, "epoch": 3, "table": "markets",
    "op": "update", "type": "market_settled", "ticker": "KXBTCD-26FEB03-T97500",
    "key": {"ticker": "KXBTCD-26FEB03-T97500"},
    "data": {"ticker": "KXBTCD-26FEB03-T97500", "status": "settled"},
    "changes": {"status": {"old": "closed", "new": "settled"}},
    "timestamp": "2026-02-03T22:05:00.123456Z",
}  # fmt: skip


@given(value=st.text(min_size=1))
def test_a_token_is_safe_and_can_be_read_back(value: str) -> None:
    made = token(value)
    assert unquote(made) == value
    assert not set(made) & set(". *>\t\n")


def test_subjects_are_those_of_the_contract() -> None:
    market = {
        "ticker": "KXBTCD-26FEB03-T97500.99",
        "event_ticker": "KXBTCD-26FEB03",
        "series_ticker": "KXBTCD",
    }
    assert (
        subject("markets", "update", market)
        == "cdc.markets.update.KXBTCD.KXBTCD-26FEB03.KXBTCD-26FEB03-T97500%2E99"
    )
    assert subject("events", "insert", market) == "cdc.events.insert.KXBTCD.KXBTCD-26FEB03"
    assert subject("series", "update", {"ticker": "KXBTCD"}) == "cdc.series.update.KXBTCD"
    lifecycle = {"event_type": "event_fee_update", "market_ticker": None, "event_ticker": "E-1"}
    assert (
        subject("market_lifecycle_events", "insert", lifecycle)
        == "cdc.market_lifecycle_events.insert.event_fee_update.E-1"
    )
    assert subject("fees", "update", {"tier": ""}) == "cdc.fees.update._"
    assert table_subject("markets", "truncate") == "cdc.markets.truncate"


def test_a_message_is_read() -> None:
    change = decode(msgspec.json.encode(MESSAGE))
    assert change.position == Position(3, 0x16B3748, 17)
    assert change.changes is not None
    assert change.changes["status"].new == "settled"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{}",
        b"not json",
        msgspec.json.encode({**MESSAGE, "v": 2}),
        msgspec.json.encode({**MESSAGE, "lsn": "nonsense"}),
        msgspec.json.encode({**MESSAGE, "op": "upsert"}),
    ],
)
def test_what_cannot_be_read_is_a_typed_error(broken: bytes) -> None:
    with pytest.raises(UnreadableMessage):
        decode(broken)


@given(epoch=st.integers(1, 9), lsn=st.integers(0, 2**64 - 1), seq=st.integers(0, 2**31))
def test_positions_survive_their_text(epoch: int, lsn: int, seq: int) -> None:
    position = Position(epoch, lsn, seq)
    assert Position.parse(str(position)) == position
    assert parse_lsn(format_lsn(lsn)) == lsn


def test_positions_order_by_number_not_by_text() -> None:
    assert Position(1, parse_lsn("0/FF"), 9) < Position(1, parse_lsn("0/100"), 0)
    assert Position(1, parse_lsn("F/0"), 0) < Position(2, parse_lsn("0/1"), 0)


@pytest.mark.parametrize("text", ["", "1:2", "x:0/1:2", "1:0/1:y", "1:2:3"])
def test_a_bad_position_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        Position.parse(text)


def test_what_a_snapshot_sees() -> None:
    snapshot = Snapshot.parse("100:110:102,105")
    assert str(snapshot) == "100:110:102,105"
    seen = {xid for xid in range(98, 112) if snapshot.sees(xid)}
    assert seen == {98, 99, 100, 101, 103, 104, 106, 107, 108, 109}
    assert applies(102, snapshot)
    assert not applies(101, snapshot)
    assert applies(None, snapshot), "a re-announced row is applied always"
    assert Snapshot.parse("5:5:").in_progress == frozenset()
    with pytest.raises(ValueError, match="pg_snapshot"):
        Snapshot.parse("100:110")


@given(reference=st.integers(2**33, 2**50), distance=st.integers(-(2**31), 2**31 - 1))
def test_an_xid_is_widened_across_the_wrap(reference: int, distance: int) -> None:
    xid = reference + distance
    assert widen(xid & 0xFFFFFFFF, reference) == xid


def test_lock_keys_fit_two_int4() -> None:
    for name in ("cache", "lifecycle", "sync:full"):
        assert all(-(2**31) <= key < 2**31 for key in lock_key(name))
    assert lock_key("cache") != lock_key("lifecycle")


def test_queries_are_found_by_name() -> None:
    queries = sql.parse("-- name: one\n-- what it does\nSELECT 1\n-- name: two\nSELECT 2;\n")
    assert queries == {"one": "-- what it does\nSELECT 1", "two": "SELECT 2;"}
    with pytest.raises(ValueError, match="twice"):
        sql.parse("-- name: one\nSELECT 1\n-- name: one\nSELECT 2")
