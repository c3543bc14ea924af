"""Every documented message, and whatever else may come, becomes a typed message."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssmd_kalshi.feed import Message
from ssmd_lifecycle.feed.messages import Kind, LifecycleMessage
from ssmd_lifecycle.feed.parser import parse_message, parse_stored

RECEIVED = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def frame(document: dict[str, Any]) -> Message:
    sent = document.get("sending_ts_ms")
    return Message(
        type=document["type"],
        sid=document.get("sid"),
        seq=document.get("seq"),
        sent_at=None if sent is None else datetime.fromtimestamp(sent / 1000, UTC),
        msg=document["msg"],
        raw=msgspec.json.encode(document),
        received_at=RECEIVED,
    )


def market(event_type: str, **fields: Any) -> LifecycleMessage:
    body = {"market_ticker": "KXA-1-T97500.99", "event_type": event_type, **fields}
    return parse_message(
        frame(
            {"type": "market_lifecycle_v2", "sid": 1, "sending_ts_ms": 1763694000123, "msg": body}
        )
    )


def test_documented_messages(kalshi_data: Path) -> None:
    path = kalshi_data / "recordings" / "ws_lifecycle_documented_2026-10.jsonl"
    documents = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    messages = [parse_message(frame(document)) for document in documents]
    assert [(m.kind, m.ticker, m.applies) for m in messages] == [
        (Kind.CREATED, "INXD-23SEP14-B4487", True),
        (Kind.METADATA_UPDATED, "KXBTC-25APR30-T0915-B95000", True),
        (Kind.PRICE_LEVEL_STRUCTURE_UPDATED, "INXD-23SEP14-B4487", True),
        (Kind.METADATA_UPDATED, "KXBTC15M-26APR160100-00", True),
        (Kind.EVENT_LIFECYCLE, "KXQUICKSETTLE-26JAN25H2150", True),
        (Kind.EVENT_FEE_UPDATE, "KXBTCD-26MAY2018", True),
        (Kind.EVENT_FEE_UPDATE, "KXBTCD-26MAY2018", True),
        (Kind.CREATED, "KXMVE-TEST-EVENT-M1", False),
    ]
    assert all(message.fault is None for message in messages)
    created = messages[0]
    assert created.event_ticker == "INXD-23SEP14"
    assert created.sent_at == datetime.fromtimestamp(1669149841.234, UTC)
    assert created.columns == {
        "title": "S&P 500 closes up by 0.02% or more",
        "yes_sub_title": "S&P 500 closes up 0.02%+",
        "no_sub_title": "S&P 500 closes up <0.02%",
        "rules_primary": "The S&P 500 index level at 4:00 PM ET...",
        "can_close_early": True,
        "expected_expiration_time": datetime(2023, 9, 14, 20, tzinfo=UTC),
        "strike_type": "greater",
        "floor_strike": Decimal(4487),
        "open_time": datetime(2023, 9, 13, 20, tzinfo=UTC),
        "close_time": datetime(2023, 9, 14, 20, tzinfo=UTC),
        "price_level_structure": "linear_cent",
        "extra": {"exchange_index": 0},
    }
    assert messages[1].columns == {
        "strike_type": "between",
        "floor_strike": Decimal(95000),
        "cap_strike": Decimal(95250),
    }
    assert messages[2].columns["price_ranges"] == [
        {"start": "0.0000", "end": "1.0000", "step": "0.0010"}
    ]
    assert messages[3].columns == {"yes_sub_title": "above $95,000"}
    assert messages[4].series_ticker == "KXQUICKSETTLE"
    assert messages[4].columns["sub_title"] == "Jan 25 at 21:50"
    assert messages[4].columns["extra"] == {"exchange_index": 0}
    assert messages[5].columns == {
        "fee_type_override": "quadratic",
        "fee_multiplier_override": Decimal(1),
    }
    assert messages[6].columns == {"fee_type_override": None, "fee_multiplier_override": None}
    assert [msgspec.json.decode(message.whole) for message in messages] == documents


def test_the_kinds_without_a_documented_example() -> None:
    assert market("activated", is_deactivated=False).kind is Kind.ACTIVATED
    assert market("deactivated", is_deactivated=True).kind is Kind.DEACTIVATED
    closing = market("close_date_updated", close_ts=1763694000)
    assert closing.columns == {"close_time": datetime(2025, 11, 21, 3, tzinfo=UTC)}
    determined = market(
        "determined", result="yes", settlement_value="1.0000", determination_ts=1763694000
    )
    assert determined.columns == {"result": "yes", "settlement_value_dollars": Decimal("1.0000")}
    assert determined.times == {"determined_ts": datetime(2025, 11, 21, 3, tzinfo=UTC)}
    settled = market("settled", settled_ts=1763694000)
    assert settled.columns == {"settled_time": datetime(2025, 11, 21, 3, tzinfo=UTC)}


def test_an_absent_strike_says_nothing_and_an_empty_one_says_that_there_is_none() -> None:
    assert "cap_strike" not in market("metadata_updated", floor_strike=97499.99).columns
    assert market("metadata_updated", floor_strike=97499.99).columns["floor_strike"] == Decimal(
        "97499.99"
    )
    assert market("metadata_updated", cap_strike=None).columns == {"cap_strike": None}


@pytest.mark.parametrize(
    "document",
    [
        {
            "type": "market_lifecycle_v2",
            "msg": {"event_type": "teleported", "market_ticker": "KXA"},
        },
        {"type": "market_lifecycle_v2", "msg": {"event_type": "created"}},
        {"type": "market_lifecycle_v2", "msg": {"event_type": ["created"], "market_ticker": "KXA"}},
        {
            "type": "market_lifecycle_v2",
            "msg": {"event_type": "settled", "market_ticker": "K" * 200},
        },
        {"type": "event_lifecycle", "msg": {"series_ticker": "KXA"}},
        {"type": "event_fee_update", "msg": {"event_ticker": 7}},
        {"type": "a_new_type_of_message_with_a_long_name", "msg": {"event_ticker": "KXA-1"}},
    ],
)
def test_what_is_not_understood_is_kept(document: dict[str, Any]) -> None:
    message = parse_message(frame(document))
    assert message.kind is Kind.UNKNOWN
    assert message.fault
    assert not message.applies
    assert message.columns == {}
    assert msgspec.json.decode(message.whole) == document
    assert 0 < len(message.event_type) <= 32


def test_a_nul_character_costs_its_field() -> None:
    message = market("metadata_updated", yes_sub_title="above\x00five", cap_strike=5)
    assert message.columns == {"cap_strike": Decimal(5)}
    assert [(r.field, r.columns) for r in message.rejected] == [
        ("yes_sub_title", ("yes_sub_title",))
    ]
    body = msgspec.json.decode(message.whole)["msg"]
    assert body["yes_sub_title"] == {"unreadable": '"above\\u0000five"'}
    assert body["cap_strike"] == 5


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "market_ticker",
        "event_ticker",
        "series_ticker",
        "event_type",
        "open_ts",
        "close_ts",
        "settled_ts",
        "result",
        "settlement_value",
        "floor_strike",
        "custom_strike",
        "price_ranges",
        "additional_metadata",
        "title",
        "fee_type_override",
        "fee_multiplier_override",
        "strike_date",
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["market_lifecycle_v2", "event_lifecycle", "event_fee_update", "other"]),
    st.sampled_from([*Kind]),
    st.dictionaries(FIELDS, JSON, max_size=6),
)
def test_nothing_that_comes_is_fatal(envelope: str, kind: Kind, body: dict[str, Any]) -> None:
    message = parse_message(frame({"type": envelope, "msg": {"event_type": kind, **body}}))
    assert message.applies or message.fault


def test_a_stored_message_reads_back_as_itself() -> None:
    message = market("determined", result="no", settlement_value="0.0000")
    again = parse_stored(
        message.whole.encode(), message.sent_at, message.received_at, message.dedupe_key
    )
    assert again == message
    assert parse_stored(b'{"source":"clock"}', None, RECEIVED, "key") is None
