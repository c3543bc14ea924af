"""Pages from bytes: fast when all is known, row by row when something is new."""

import json

import msgspec
import pytest

from ssmd_kalshi import decode
from ssmd_kalshi.drift import MAX_DISTINCT, OTHER, Drift
from ssmd_kalshi.errors import BrokenReplyError
from ssmd_kalshi.wire import (
    ExchangeSchedule,
    ExchangeStatus,
    FiltersBySport,
    WireMarket,
    WireSeries,
)


def body(**reply: object) -> bytes:
    return json.dumps(reply).encode()


def test_recorded_markets_are_read_without_anything_unknown(recording) -> None:
    drift = Drift()
    page = decode.MARKETS.page(json.dumps(recording("markets_list")).encode(), drift)
    assert len(page.items) == 5
    assert page.cursor.startswith("CgwI")
    assert not page.rejected_rows
    assert not drift.found
    assert drift.rows["market"] == 5
    assert page.items[0].mve_selected_legs[0]["side"] == "yes"


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("series_list", decode.SERIES_LIST),
        ("events_list", decode.EVENTS),
        ("events_multivariate_list", decode.EVENTS),
        ("series_fee_changes", decode.SERIES_FEE_CHANGES),
    ],
)
def test_every_recorded_listing_is_read_whole(recording, name, reader) -> None:
    drift = Drift()
    reply = recording(name)
    page = reader.page(json.dumps(reply).encode(), drift)
    sent = next(v for k, v in reply.items() if isinstance(v, list) and k != "milestones")
    assert page.row_count == len(sent)
    assert page.complete
    # `milestones` beside the events is not a field of a row.
    assert not drift.rejected_rows
    assert not drift.unknown_fields


def test_recorded_single_rows_are_read(recording) -> None:
    drift = Drift()
    market = decode.MARKET.one(json.dumps(recording("market_single")).encode(), drift)
    assert market.ticker == recording("market_single")["market"]["ticker"]
    event = decode.EVENT.one(json.dumps(recording("event_single")).encode(), drift)
    assert event.markets is not None
    assert [m.ticker for m in event.markets] == ["KXELONMARS-99"]
    series = decode.SERIES_LIST.one(json.dumps(recording("series_single")).encode(), drift)
    assert series.ticker == "CO2"
    assert not drift.found


def test_recorded_objects_are_read(recording) -> None:
    status = decode.decode_object(json.dumps(recording("exchange_status")).encode(), ExchangeStatus)
    assert status.trading_active
    schedule = decode.decode_object(
        json.dumps(recording("exchange_schedule")).encode(), ExchangeSchedule, "schedule"
    )
    assert schedule.standard_hours is not None
    assert len(schedule.standard_hours[0].thursday or ()) == 2
    sports = decode.decode_object(
        json.dumps(recording("filters_by_sport")).encode(), FiltersBySport
    )
    assert sports.sport_ordering is not None
    assert sports.sport_ordering[0] in sports.filters_by_sports


def test_unknown_field_is_kept_and_counted() -> None:
    drift = Drift()
    page = decode.MARKETS.page(
        body(markets=[{"ticker": "A", "colour": {"deep": [1]}}, {"ticker": "B"}], cursor="c"), drift
    )
    assert [m.ticker for m in page.items] == ["A", "B"]
    assert page.items[0].unknown == {"colour": {"deep": [1]}}
    assert page.items[1].unknown is None
    assert page.cursor == "c"
    assert drift.unknown_fields == {("market", "colour"): 1}
    assert "deep" in drift.examples["market", "colour"]


def test_unknown_word_is_kept_and_counted() -> None:
    drift = Drift()
    page = decode.MARKETS.page(
        body(markets=[{"ticker": "A", "status": "halted"}, {"ticker": "B", "status": "active"}]),
        drift,
    )
    assert [m.status for m in page.items] == ["halted", "active"]
    assert drift.unknown_words == {("market.status", "halted"): 1}
    drift.count_unknown_field("market", "colour", 3, "red")
    drift.count_rejected_row("event")
    names = ("kind", "entity", "name", "count", "example")
    assert [tuple(one[name] for name in names) for one in drift.document(2)] == [
        ("unknown field", "market", "colour", 3, '"red"'),
        ("unknown word", "market", "status", 1, "halted"),
    ]
    assert len(drift.document(9)) == 3


def test_only_a_row_without_a_readable_ticker_is_rejected() -> None:
    drift = Drift()
    page = decode.MARKETS.page(
        body(
            markets=[
                {"ticker": "A"},
                {"ticker": "B", "can_close_early": "maybe", "title": "read"},
                {"title": "no ticker"},
                {"ticker": ""},
                {"ticker": 7},
                {"ticker": "a\0b"},
                {"ticker": "x" * 129},
                ["not", "an", "object"],
                {"ticker": "C:D"},
            ]
        ),
        drift,
    )
    assert [m.ticker for m in page.items] == ["A", "B", "C:D"]
    [rejected] = page.items[1].rejected
    assert (page.items[1].title, page.items[1].can_close_early) == ("read", None)
    assert rejected.reason == 'can_close_early is "maybe": it is neither true nor false'
    assert [s.ticker for s in page.rejected_rows] == [
        None,
        None,
        None,
        "a b",
        "x" * 128 + "x",
        None,
    ]
    assert page.rejected_rows[2].reason == "ticker is 7: it is not a text"
    assert not page.complete
    assert page.row_count == 9
    assert drift.rejected_rows == {"market": 6}


def test_bad_nested_market_does_not_take_its_event_along() -> None:
    page = decode.EVENTS.page(
        body(
            events=[
                {
                    "event_ticker": "E",
                    "markets": [{"ticker": "A"}, {"ticker": 7}, {"ticker": "B", "x": 1}],
                }
            ],
            cursor="",
        ),
        Drift(),
    )
    [event] = page.items
    assert event.markets is not None
    assert [type(m) for m in event.markets] == [WireMarket, WireMarket]
    assert event.markets[1].unknown == {"x": 1}
    assert len(page.rejected_rows) == 1
    assert not page.complete


def test_null_list_is_an_empty_page() -> None:
    assert decode.MARKETS.page(b'{"markets":null,"cursor":""}', Drift()).items == []
    assert decode.SERIES_LIST.page(b'{"series":null}', Drift()).items == []


def test_null_tags_and_missing_optionals() -> None:
    page = decode.SERIES_LIST.page(b'{"series":[{"ticker":"A","tags":null}]}', Drift())
    assert page.items == [WireSeries(ticker="A")]


def test_both_price_generations_and_numbers_instead_of_text() -> None:
    page = decode.MARKETS.page(
        body(
            markets=[{"ticker": "A", "yes_bid": 54, "volume_fp": 3.5, "last_price_dollars": "0.5"}]
        ),
        Drift(),
    )
    assert page.items[0].yes_bid == 54
    assert page.items[0].volume_fp == 3.5
    assert not page.rejected_rows


@pytest.mark.parametrize(
    ("title", "kept", "why"),
    [
        (rb"a\u0000b", r'"a\u0000b"', "it has a NUL, which no text may have"),
        (b"a\0b", r'"a\u0000b"', "it has a NUL, which no text may have"),
        (rb"a\ud800b", r'"a\ud800b"', "it is not valid Unicode"),
        (b"a\xffb", r'"a\udcffb"', "it is not valid Unicode"),
    ],
)
def test_text_that_postgresql_cannot_hold_is_one_bad_field(
    title: bytes, kept: str, why: str
) -> None:
    page = decode.MARKETS.page(
        b'{"markets":[{"ticker":"A","title":"' + title + b'","status":"active"},'
        b'{"ticker":"B","title":"b"}],"cursor":"c"}',
        Drift(),
    )
    assert [m.title for m in page.items] == [None, "b"]
    assert page.items[0].status == "active"
    [rejected] = page.items[0].rejected
    assert (rejected.name, rejected.kept, rejected.why) == ("title", kept, why)
    assert page.cursor == "c"
    assert page.complete


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"<html>bad gateway</html>",
        b'{"markets":[{"ticker":"A"}',
        b"[]",
        b"null",
        b'"markets"',
        b"{}",
        b'{"markets":{}}',
        b'{"markets":[],"cursor":7}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_a_page_is_a_broken_reply(reply: bytes) -> None:
    with pytest.raises(BrokenReplyError):
        decode.MARKETS.page(reply, Drift())


def test_a_field_named_like_our_own_is_foreign_too() -> None:
    page = decode.MARKETS.page(body(markets=[{"ticker": "A", "(unknown)": 7}]), Drift())
    assert page.items[0].unknown == {"(unknown)": 7}


def test_foreign_names_are_bounded() -> None:
    drift = Drift()
    for n in range(MAX_DISTINCT + 50):
        drift.count_unknown_field("market", f"field{n}", 1, None)
    assert len(drift.unknown_fields) == MAX_DISTINCT + 1
    assert drift.unknown_fields["market", OTHER] == 50


def test_wire_rows_are_frozen() -> None:
    market = WireMarket(ticker="A")
    with pytest.raises(AttributeError):
        market.ticker = "B"  # type: ignore[misc]
    assert msgspec.structs.replace(market, ticker="B").ticker == "B"
