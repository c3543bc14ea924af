"""Mutated payloads never raise anything but the client's own typed errors.

The seeds are recorded replies and documented messages where they are at hand, and replies of our
own. `SSMD_FUZZ_EXAMPLES` sets the number of mutations; the default suite makes a few thousand.
"""

import json
import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssmd_kalshi import convert, decode, frames, markets
from ssmd_kalshi.drift import Drift
from ssmd_kalshi.errors import KalshiError
from ssmd_kalshi.http import error_text, reply_error
from ssmd_kalshi.sequences import Sequence
from ssmd_kalshi.wire import ExchangeSchedule, ExchangeStatus, FiltersBySport

EXAMPLES = int(os.environ.get("SSMD_FUZZ_EXAMPLES", "3000"))
NOW = datetime(2026, 11, 21, tzinfo=UTC)

MARKET = {
    "ticker": "KXBTCD-26FEB03-T97500.99",
    "event_ticker": "KXBTCD-26FEB03",
    "title": "Bitcoin above 97,500.99?",
    "status": "active",
    "yes_bid_dollars": "0.5410",
    "no_ask": 46,
    "volume_fp": "56.43",
    "close_time": "2026-02-03T22:00:00.123456789Z",
    "updated_time": "0001-01-01T00:00:00Z",
    "floor_strike": 97500.99,
    "custom_strike": {"a": "b"},
    "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}],
    "is_provisional": True,
}
OWN: dict[str, Any] = {
    "markets_list": {"markets": [MARKET, {**MARKET, "ticker": "B"}], "cursor": "CgYI"},
    "market_single": {"market": MARKET},
    "events_list": {
        "events": [{"event_ticker": "E", "series_ticker": "S", "markets": [MARKET]}],
        "cursor": "",
    },
    "event_single": {"event": {"event_ticker": "E", "series_ticker": "S"}, "markets": [MARKET]},
    "series_list": {"series": [{"ticker": "S", "tags": None, "fee_multiplier": 0.5}]},
    "series_fee_changes": {
        "series_fee_change_arr": [
            {
                "id": "1",
                "series_ticker": "S",
                "fee_type": "quadratic",
                "fee_multiplier": 1,
                "scheduled_ts": "2026-01-01T00:00:00Z",
            }
        ]
    },
    "exchange_status": {"exchange_active": True, "trading_active": True},
    "exchange_schedule": {"schedule": {"standard_hours": [{"monday": []}]}},
    "filters_by_sport": {"filters_by_sports": {"Golf": {"scopes": ["Games"]}}},
    "tags_by_categories": {"tags_by_categories": {"World": None}},
}
FRAME = {
    "type": "market_lifecycle_v2",
    "sid": 13,
    "seq": 3,
    "sending_ts_ms": 1669149841234,
    "msg": {"event_type": "created", "market_ticker": "M", "open_ts": 1694635200},
}

Reader = Callable[[bytes], None]


def read_markets(body: bytes) -> None:
    page = decode.MARKETS.page(body, Drift())
    lists = convert.readable(page.items, lambda wire: markets.market(wire, "KXBTCD", NOW))
    assert sum(map(len, lists)) == len(page.items)


def read_events(body: bytes) -> None:
    for event in decode.EVENTS.page(body, Drift()).items:
        convert.event(event)
        for market in event.markets or ():
            markets.market(market, "S", NOW)


def read_fees(body: bytes) -> None:
    convert.fee_schedule(decode.SERIES_FEE_CHANGES.page(body, Drift()).items)


def read_series(body: bytes) -> None:
    for series in decode.SERIES_LIST.page(body, Drift()).items:
        convert.series(series)


READERS: dict[str, Reader] = {
    "markets_list": read_markets,
    "market_single": lambda body: markets.market(decode.MARKET.one(body, Drift()), "S", NOW),
    "events_list": read_events,
    "event_single": lambda body: convert.event(decode.EVENT.one(body, Drift())),
    "series_list": read_series,
    "series_fee_changes": read_fees,
    "exchange_status": lambda body: decode.decode_object(body, ExchangeStatus),
    "exchange_schedule": lambda body: decode.decode_object(body, ExchangeSchedule, "schedule"),
    "filters_by_sport": lambda body: decode.decode_object(body, FiltersBySport),
    "tags_by_categories": lambda body: decode.decode_object(
        body, dict[str, list[str] | None], "tags_by_categories"
    ),
}  # type: ignore[dict-item]


def read_frame(raw: bytes) -> None:
    frame = frames.decode_frame(raw)
    assert isinstance(frame.body, dict)
    assert isinstance(frame.said, str)
    assert frame.sent_at is None or frame.sent_at.tzinfo is UTC
    Sequence().missing(frame.seq)
    _ = (frame.code, frame.subscription)


ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    10**400,
    1e308,
    0.1,
    "",
    " ",
    "NaN",
    "Infinity",
    "-0",
    "1e999999999",
    "\x00",
    "\ud800",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "2026-02-30T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "x" * 300,
    [],
    {},
    [[]],
    {"(unknown)": {"a": 1}},
]


def mutate(value: Any, chance: random.Random) -> Any:
    """One or a few changes somewhere in the structure."""
    if isinstance(value, dict) and value:
        copy = dict(value)
        key = chance.choice(list(copy))
        match chance.randrange(6):
            case 0:
                del copy[key]
            case 1:
                copy[key] = chance.choice(ODD)
            case 2:
                copy[f"new_{chance.randrange(99)}"] = chance.choice(ODD)
            case _:
                copy[key] = mutate(copy[key], chance)
        return copy
    if isinstance(value, list) and value:
        copy_list = list(value)
        at = chance.randrange(len(copy_list))
        match chance.randrange(5):
            case 0:
                copy_list.append(chance.choice(ODD))
            case 1:
                copy_list[at] = chance.choice(ODD)
            case _:
                copy_list[at] = mutate(copy_list[at], chance)
        return copy_list
    if isinstance(value, str) and value and chance.randrange(2):
        at = chance.randrange(len(value))
        return value[:at] + chance.choice(["", "\x00", "é", "\ud83d", "9", "-"]) + value[at + 1 :]
    return chance.choice(ODD)


def mangle(body: bytes, chance: random.Random) -> bytes:
    """Damage below JSON: cut, flip, insert."""
    if not body or chance.randrange(3):
        return body
    at = chance.randrange(len(body))
    match chance.randrange(4):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
        case 2:
            return body[:at] + bytes([chance.randrange(256)]) + body[at:]
        case _:
            return body[:at] + body[at : at + 40] + body[at:]


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def attempts(seed: Any, count: int, chance: random.Random) -> Iterator[bytes]:
    for _ in range(count):
        value = seed
        for _ in range(chance.randrange(1, 4)):
            value = mutate(value, chance)
        yield mangle(encoded(value), chance)


def survive(read: Reader, body: bytes) -> None:
    try:
        read(body)
    except KalshiError as raised:
        error = raised
    else:
        return
    assert 0 < len(str(error)) < 2000


@pytest.mark.parametrize("name", sorted(READERS))
def test_mutated_replies_of_our_own(name: str) -> None:
    chance = random.Random(name)
    for body in attempts(OWN[name], EXAMPLES // len(READERS), chance):
        survive(READERS[name], body)


@pytest.mark.parametrize("name", sorted(READERS))
def test_mutated_recordings(name: str, recording) -> None:
    chance = random.Random(name)
    seed = recording(name)
    if name == "series_list":
        seed = {"series": seed["series"][:5]}
    for body in attempts(seed, EXAMPLES // len(READERS), chance):
        survive(READERS[name], body)


def test_mutated_frames() -> None:
    for raw in attempts(FRAME, EXAMPLES // 4, random.Random(1)):
        survive(read_frame, raw)


def test_mutated_documented_messages(documented_messages: list[bytes]) -> None:
    chance = random.Random(2)
    for message in documented_messages:
        seed = json.loads(message)
        for raw in attempts(seed, EXAMPLES // 4 // len(documented_messages), chance):
            survive(read_frame, raw)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300), st.integers(100, 599))
def test_any_bytes_at_all(body: bytes, status: int) -> None:
    for read in (*READERS.values(), read_frame):
        survive(read, body)
    assert isinstance(error_text(body), str)
    assert isinstance(reply_error("markets", status, body), KalshiError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON)
def test_any_json_at_all(value: Any) -> None:
    for key in ("markets", "market", "events", "event", "series", "msg", "error"):
        body = encoded({key: value, "cursor": "", "type": "x"})
        for read in (*READERS.values(), read_frame):
            survive(read, body)
        assert isinstance(error_text(body), str)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(MARKET)), JSON))
def test_any_value_in_any_field_of_a_market(fields: dict[str, Any]) -> None:
    survive(read_markets, encoded({"markets": [{**MARKET, **fields}]}))
