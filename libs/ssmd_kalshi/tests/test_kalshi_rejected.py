"""One field that cannot be read costs itself: every kind of fault, in every kind of row."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from ssmd_common import models
from ssmd_kalshi import convert, decode, markets, values
from ssmd_kalshi.drift import Drift
from ssmd_kalshi.errors import BadFieldError, BrokenReplyError
from ssmd_kalshi.unread import KEPT_CHARACTERS, MAX_JSON_BYTES, MAX_JSON_DEPTH, json_fault
from ssmd_kalshi.wire import WireMarket

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def nested(depth: int) -> Any:
    value: Any = 1
    for n in range(depth):
        value = {"a": value} if n % 2 else [value]
    return value


def deep_json(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def read(fields: str | bytes, ticker: str = "M-1") -> models.Market:
    """The row of a market with these fields, from a page's text; its neighbour is unharmed."""
    given = fields.encode() if isinstance(fields, str) else fields
    body = (
        b'{"markets":[{"ticker":"%b","event_ticker":"M","title":"t",' % ticker.encode()
        + given
        + b'},{"ticker":"M-2","event_ticker":"M","title":"u"}],"cursor":"c"}'
    )
    page = decode.MARKETS.page(body, Drift())
    assert (page.rejected_rows, page.cursor) == ([], "c")
    rows = [markets.market(wire, "S", NOW) for wire in page.items]
    neighbour = markets.market(WireMarket(ticker="M-2", event_ticker="M", title="u"), "S", NOW)
    assert rows[1] == neighbour
    assert rows[0].title == "t"
    return rows[0]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("custom_strike", '"x"', "x"),
        ("custom_strike", "[1]", [1]),
        ("custom_strike", '{"a":NaN}', '{"a": "NaN"}'),
        ("custom_strike", r'{"a":"\u0000"}', r'{"a": "\u0000"}'),
        ("custom_strike", r'{"\ud800":1}', r'{"\ud800": 1}'),
        ("custom_strike", '{"a":1e300}', '{"a": 1e+300}'),
        ("price_ranges", "[null]", [None]),
        ("price_ranges", '{"a":1}', {"a": 1}),
        ("can_close_early", '"true"', "true"),
        ("is_provisional", "1", 1),
        ("result", "7", 7),
        ("rules_primary", "[]", []),
        ("rules_secondary", "{}", {}),
        ("created_time", "5", 5),
        ("expiration_value", "true", True),
        ("close_time", '"2026-01-01T24:00:00Z"', "2026-01-01T24:00:00Z"),
        ("close_time", '"2026-06-30T23:59:60Z"', "2026-06-30T23:59:60Z"),
        ("open_time", '"2026-01-01T00:00:00z"', "2026-01-01T00:00:00z"),
        ("open_time", '"2026-01-01 00:00:00Z"', "2026-01-01 00:00:00Z"),
        ("open_time", '"20260101T000000Z"', "20260101T000000Z"),
        ("open_time", '"2026-W01-1T00:00:00Z"', "2026-W01-1T00:00:00Z"),
        ("open_time", '"2026-01-01T00:00:00"', "2026-01-01T00:00:00"),
        ("open_time", '"2026-01-01"', "2026-01-01"),
        ("settlement_ts", '" "', " "),
        ("settlement_ts", "1767225600", 1767225600),
        ("updated_time", '"99999-01-01T00:00:00Z"', "99999-01-01T00:00:00Z"),
        ("updated_time", '"9999-12-31T23:59:59-00:01"', "9999-12-31T23:59:59-00:01"),
        ("updated_time", '"0000-01-01T00:00:00Z"', "0000-01-01T00:00:00Z"),
        ("floor_strike", '"NaN"', "NaN"),
        ("floor_strike", "NaN", '"NaN"'),
        ("floor_strike", "-Infinity", '"-Infinity"'),
        ("floor_strike", "1e400", '"1e400"'),
        ("floor_strike", "1e30", "1e+30"),
        ("cap_strike", "9" * 5000, '"' + "9" * (KEPT_CHARACTERS - 1) + "…"),
        ("cap_strike", '" 1 "', " 1 "),
        ("cap_strike", '"1_000"', "1_000"),
        ("yes_bid_dollars", "true", True),
        ("yes_bid_dollars", '" "', " "),
        ("no_ask_dollars", '"٠.٥"', "٠.٥"),
        ("volume_fp", '"1_0.00"', "1_0.00"),
        ("volume_24h_fp", '"١.٠٠"', "١.٠٠"),
        ("open_interest_fp", "{}", {}),
        ("settlement_value_dollars", '"1e9"', "1e9"),
        ("status", "3", 3),
        ("status", '"  "', "  "),
        ("tick_size", "1e300", "1e+300"),
        ("previous_price_dollars", "[1]", [1]),
    ],
)
def test_a_field_of_a_market(name: str, value: str, kept: object) -> None:
    before = REGISTRY.get_sample_value(
        "ssmd_kalshi_rejected_fields_total", {"entity": "market", "field": name}
    )
    market = read(f'"{name}":{value}')
    [rejected] = market.rejected
    assert (rejected.field, rejected.columns) == (name, markets.COLUMNS.get(name, ()))
    assert rejected.reason.startswith(f"{name} is ")
    assert market.extra == {name: kept}
    assert msgspec.structs.replace(market, rejected=(), extra=None) == read('"title":"t"')
    assert read(f'"{name}":{value}') == market, "the same again is equal"
    assert json_fault(market.extra) is None
    after = REGISTRY.get_sample_value(
        "ssmd_kalshi_rejected_fields_total", {"entity": "market", "field": name}
    )
    assert after == (before or 0) + 2


@pytest.mark.parametrize("name", ["custom_strike", "brand_new"])
def test_json_is_stored_to_a_depth_and_a_size(name: str) -> None:
    fits = {"a": nested(MAX_JSON_DEPTH - 1)}
    market = read(f'"{name}":{json.dumps(fits)}')
    assert not market.rejected
    assert fits in (market.custom_strike, (market.extra or {}).get(name))
    for value in (
        {"a": nested(MAX_JSON_DEPTH)},
        {"a": "x" * MAX_JSON_BYTES},
        {str(n): n for n in range(3000)},
    ):
        market = read(f'"{name}":{json.dumps(value)}')
        [rejected] = market.rejected
        assert rejected.field == name
        assert market.custom_strike is None
        assert market.extra is not None
        assert len(market.extra[name]) == min(KEPT_CHARACTERS, len(json.dumps(value))) + (
            len(json.dumps(value)) > KEPT_CHARACTERS
        )


@pytest.mark.parametrize("name", ["custom_strike", "price_ranges", "brand_new", "result", "volume"])
@pytest.mark.parametrize("depth", [500, 2_000, 100_000])
def test_nesting_without_end_is_one_bad_field(name: str, depth: int) -> None:
    market = read(b'"%b":%b' % (name.encode(), deep_json(depth)))
    assert [one.field for one in market.rejected] == [name]
    assert market.extra is not None
    assert market.extra[name].startswith('{"a": {"a": {"a": ')
    assert json_fault(market.extra) is None


def test_unknown_fields_beside_a_bad_one() -> None:
    market = read(r'"colour":"red","b\u0000d":1,"bad":"\ud83d","yes_bid_depth":2,"result":5')
    assert market.extra == {
        "colour": "red",
        r"b\u0000d": 1,
        "bad": r'"\ud83d"',
        "result": 5,
    }
    assert [one.field for one in market.rejected] == [r"b\u0000d", "bad", "result"]


def test_nothing_on_the_wire_is_taken_for_our_own() -> None:
    for name in ("(rejected)", "(unknown)"):
        market = read(f'"{name}":{{"deep":{json.dumps(nested(40))}}}')
        assert [one.field for one in market.rejected] == [name]
        assert market.extra is not None
        assert list(market.extra) == [name]


@pytest.mark.parametrize(
    ("fields", "dollars", "cents", "kept"),
    [
        ('"yes_bid_dollars":"x","yes_bid":6', Decimal("0.06"), 6, set()),
        ('"yes_bid_dollars":{},"yes_bid":6', Decimal("0.06"), 6, set()),
        ('"yes_bid_dollars":"x"', None, None, {"yes_bid", "yes_bid_dollars"}),
        ('"yes_bid":"x"', None, None, {"yes_bid", "yes_bid_dollars"}),
        ('"yes_bid":99999999', None, None, {"yes_bid", "yes_bid_dollars"}),
        ('"yes_bid_dollars":"x","yes_bid":[]', None, None, {"yes_bid", "yes_bid_dollars"}),
        ('"yes_bid_dollars":"0.0675","yes_bid":[]', Decimal("0.0675"), 6, set()),
    ],
)
def test_the_older_generation_stands_in(
    fields: str, dollars: Decimal | None, cents: int | None, kept: set[str]
) -> None:
    market = read(fields)
    assert (market.yes_bid_dollars, market.yes_bid, market.kept) == (dollars, cents, kept)
    assert market.rejected


def test_counts_of_the_older_generation_stand_in() -> None:
    market = read('"volume_fp":"many","volume":5')
    assert (market.volume_fp, market.volume, market.kept) == (Decimal(5), 5, set())
    market = read('"volume_fp":"many"')
    assert (market.volume, market.kept) == (None, {"volume", "volume_fp"})


@pytest.mark.parametrize("said", ["null", "7", '""', '"A B"', r'"\u0000"', '["E"]'])
def test_a_market_in_an_event_is_the_events(said: str) -> None:
    body = (
        '{"events":[{"event_ticker":"E","series_ticker":"S","markets":['
        f'{{"ticker":"A","event_ticker":{said}}},{{"ticker":"B","event_ticker":"E"}}'
        ']}],"cursor":""}'
    )
    page = decode.EVENTS.page(body.encode(), Drift())
    assert page.complete
    [event] = page.items
    assert event.markets is not None
    rows = [markets.market(wire, "S", NOW) for wire in event.markets]
    assert [row.event_ticker for row in rows] == ["E", "E"]
    assert all(row.kept == set() for row in rows)
    assert bool(rows[0].rejected) is (said not in ("null", '""'))


def test_markets_that_are_no_list_may_be_any() -> None:
    page = decode.EVENTS.page(
        b'{"events":[{"event_ticker":"E","title":"t","markets":{"a":1}}],"cursor":""}', Drift()
    )
    assert page.items[0].title == "t"
    assert not page.complete


EVENT_FAULTS: list[tuple[str, Any]] = [
    ("title", 5),
    ("category", ["a"]),
    ("strike_date", "2026-01-01T24:00:00Z"),
    ("mutually_exclusive", "true"),
    ("sub_title", "a\0"),
    ("strike_period", {}),
    ("collateral_return_type", 1),
    ("fee_type_override", True),
    ("fee_multiplier_override", "NaN"),
    ("last_updated_ts", "2026-06-30T23:59:60Z"),
    ("product_metadata", "x"),
    ("settlement_sources", [None]),
    ("available_on_brokers", 0),
    ("exchange_index", "\ud800"),
]


@pytest.mark.parametrize(("name", "value"), EVENT_FAULTS)
def test_a_field_of_an_event(name: str, value: Any) -> None:
    sent = {"event_ticker": "E", "series_ticker": "S"}
    body = json.dumps({"events": [{**sent, name: value}, sent], "cursor": ""}).encode()
    page = decode.EVENTS.page(body, Drift())
    assert page.complete
    bad, good = map(convert.event, page.items)
    assert [one.field for one in bad.rejected] == [name]
    assert bad.kept == set(convert.EVENT_COLUMNS.get(name, ()))
    assert bad.extra is not None
    assert json_fault(bad.extra.pop(name)) is None
    assert msgspec.structs.replace(bad, rejected=(), extra=bad.extra or None) == good
    single = decode.EVENT.one(json.dumps({"event": {**sent, name: value}}).encode(), Drift())
    again = convert.event(single)
    assert again.extra is not None
    assert again.extra.pop(name) is not None
    assert again == bad


def test_an_event_whose_series_cannot_be_read() -> None:
    for value in (7, None, "", "A B", "x" * 129, "a\0b"):
        reply = {"event": {"event_ticker": "E", "series_ticker": value, "title": "t"}}
        row = convert.event(decode.EVENT.one(json.dumps(reply).encode(), Drift()))
        assert (row.series_ticker, row.title, row.kept) == ("", "t", {"series_ticker"})


SERIES_FAULTS: list[tuple[str, Any]] = [
    ("title", False),
    ("category", 1),
    ("tags", ["a", None]),
    ("tags", "a"),
    ("tags", ["a\0"]),
    ("frequency", []),
    ("settlement_sources", [{"a": nested(32)}]),
    ("contract_url", 1),
    ("fee_type", {}),
    ("fee_multiplier", "much"),
    ("volume_fp", "1e19"),
    ("volume", [1]),
    ("last_updated_ts", "yesterday"),
    ("product_metadata", [nested(2000)]),
    ("additional_prohibitions", [1]),
    ("categories", {"a": 1}),
]


@pytest.mark.parametrize(("name", "value"), SERIES_FAULTS)
def test_a_field_of_a_series(name: str, value: Any) -> None:
    text = deep_json(2000).decode() if name == "product_metadata" else json.dumps(value)
    body = f'{{"series":{{"ticker":"S","{name}":{text},"is_new":1}}}}'.encode()
    bad = convert.series(decode.SERIES_LIST.one(body, Drift()))
    assert bad.kept == set(convert.SERIES_COLUMNS.get(name, ()))
    if name != "product_metadata":
        assert [one.field for one in bad.rejected] == [name]
    good = convert.series(decode.SERIES_LIST.one(b'{"series":{"ticker":"S"}}', Drift()))
    assert bad.extra is not None
    assert json_fault(bad.extra) is None
    assert bad.extra.keys() == {name, "is_new"}
    assert msgspec.structs.replace(bad, rejected=(), extra=None) == good


def test_a_single_row_without_a_readable_ticker_is_no_reason_to_ask_again() -> None:
    with pytest.raises(BadFieldError, match="ticker is 7"):
        decode.SERIES_LIST.one(b'{"series":{"ticker":7}}', Drift())
    with pytest.raises(BrokenReplyError):
        decode.SERIES_LIST.one(b'{"series":[]}', Drift())


@pytest.mark.parametrize(
    ("name", "value"), [("fee_type", 1), ("fee_multiplier", {}), ("scheduled_ts", 5), ("id", [])]
)
def test_a_step_of_a_fee_schedule_is_read_whole(name: str, value: Any) -> None:
    step = {
        "series_ticker": "S",
        "id": "1",
        "fee_type": "quadratic",
        "fee_multiplier": 1,
        "scheduled_ts": "2026-01-01T00:00:00Z",
        "brand_new": nested(40),
    }
    body = json.dumps({"series_fee_change_arr": [{**step, name: value}, step]}).encode()
    page = decode.SERIES_FEE_CHANGES.page(body, Drift())
    assert [one.ticker for one in page.rejected_rows] == ["S"]
    assert name in page.rejected_rows[0].reason
    rows, unreadable = convert.fee_schedule(page.items)
    assert (len(rows), unreadable) == (1, [])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-02-03T22:00:00Z", datetime(2026, 2, 3, 22, tzinfo=UTC)),
        ("2026-02-03T22:00:00.1Z", datetime(2026, 2, 3, 22, 0, 0, 100_000, tzinfo=UTC)),
        ("2026-02-03T22:00:00.123456789Z", datetime(2026, 2, 3, 22, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-02-03T22:00:00+00:00", datetime(2026, 2, 3, 22, tzinfo=UTC)),
        ("2026-02-03T22:00:00-05:30", datetime(2026, 2, 4, 3, 30, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_times_that_are_read(text: str, moment: datetime | None) -> None:
    assert values.time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-03T24:00:00Z",
        "2026-02-03T22:00:60Z",
        "2026-02-03T22:60:00Z",
        "2026-02-03t22:00:00Z",
        "2026-02-03T22:00:00z",
        "2026-02-03T22:00:00",
        "2026-02-03T22:00Z",
        "2026-02-03T22:00:00,5Z",
        "2026-02-03T22:00:00.Z",
        "2026-02-03T22:00:00+00",
        "2026-02-03T22:00:00+0000",
        "2026-02-03T22:00:00+24:00",
        "2026-02-03T22:00:00+00:00:01",
        "2026-02-30T22:00:00Z",
        "2026-034T22:00:00Z",
        "2026-W06-2T22:00:00Z",
        "20260203T220000Z",
        "2026-02-03",
        "٢٠٢٦-02-03T22:00:00Z",
        " 2026-02-03T22:00:00Z",
        "2026-02-03T22:00:00Z\n",
        "0001-garbage",
        "0001-01-01T00:00:00+23:59",
        "-infinity",
        " ",
    ],
)
def test_times_that_are_not(text: str) -> None:
    if text == "0001-01-01T00:00:00+23:59":
        assert values.time(text) is None, "the year 1, wherever"
        return
    with pytest.raises(ValueError, match=r"RFC 3339|no such day"):
        values.time(text)
