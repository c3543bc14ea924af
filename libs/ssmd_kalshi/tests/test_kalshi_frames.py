"""WebSocket frames, error codes and sequence numbers."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_kalshi import frames
from ssmd_kalshi.errors import BrokenReplyError
from ssmd_kalshi.frames import Frame, Sequence, decode_frame


def test_documented_messages_are_read(documented_messages: list[bytes]) -> None:
    types = set()
    for raw in documented_messages:
        sent = json.loads(raw)
        frame = decode_frame(raw)
        assert frame.body == sent["msg"]
        assert (frame.sid, frame.seq) == (sent["sid"], sent.get("seq"))
        assert (frame.sent_at is None) == ("sending_ts_ms" not in sent)
        types.add(frame.type)
    assert types == {
        "market_lifecycle_v2",
        "event_lifecycle",
        "event_fee_update",
        "multivariate_market_lifecycle",
    }


def test_sent_at_is_milliseconds() -> None:
    frame = decode_frame(b'{"type":"x","sending_ts_ms":1669149841234,"msg":{}}')
    assert frame.sent_at == datetime(2022, 11, 22, 20, 44, 1, 234000, tzinfo=UTC)
    assert Frame("x", sending_ts_ms=10**300).sent_at is None
    assert Frame("x").sent_at is None


def test_error_frames() -> None:
    frame = decode_frame(b'{"id":1,"type":"error","msg":{"code":8,"msg":"Unknown channel name"}}')
    assert (frame.id, frame.code, frame.said) == (1, 8, "Unknown channel name")
    terminal = decode_frame(b'{"type":"error","sid":3,"msg":{"code":25}}')
    assert terminal.code in frames.TERMINAL_CODES
    assert terminal.said == "Subscription buffer overflow"
    assert terminal.subscription == 3
    odd = decode_frame(b'{"type":"error","msg":"no"}')
    assert (odd.code, odd.said, odd.subscription) == (None, "no text", None)


def test_every_documented_code_has_a_meaning() -> None:
    assert set(frames.CODES) == set(range(1, 29))
    assert not frames.TERMINAL_CODES & frames.REFUSED_CODES
    assert set(frames.CODES) > frames.TERMINAL_CODES | frames.REFUSED_CODES


def test_documented_codes_equal_the_specification() -> None:
    from pathlib import Path

    import yaml

    spec = Path(__file__).parents[4] / "shared" / "kalshi" / "spec" / "asyncapi.yaml"
    if not spec.is_file():
        pytest.skip(f"the specification is not at {spec}")
    documented = yaml.safe_load(spec.read_text())["x-error-codes"]["codes"]
    assert {row["code"]: row["name"] for row in documented} == frames.CODES


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"heartbeat",
        b"[]",
        b"{}",
        b'{"type":7}',
        b'{"type":"x\0"}',
        b'{"type":"x"',
        b'{"type":"x","msg":' + b"[" * 50_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_frame_is_a_typed_error(raw: bytes) -> None:
    with pytest.raises(BrokenReplyError):
        decode_frame(raw)


@pytest.mark.parametrize(
    "body",
    [
        rb'"title":"a\u0000b"',
        rb'"title":"\ud800"',
        b'"title":"\xff"',
        b'"title":"a\0"',
        b'"title":"a","title":"b"',
        b'"open_ts":NaN',
        b'"open_ts":1e400',
        b'"open_ts":' + b"9" * 5000,
        b'"custom_strike":' + b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'"custom_strike":' + b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_a_frame_is_read_whatever_is_in_its_body(body: bytes) -> None:
    raw = (
        b'{"type":"market_lifecycle_v2","sid":1,"seq":4,"msg":{"market_ticker":"M",%b,'
        b'"event_type":"created"}}' % body
    )
    frame = decode_frame(raw)
    assert (frame.type, frame.sid, frame.seq) == ("market_lifecycle_v2", 1, 4)
    assert (frame.body["market_ticker"], frame.body["event_type"]) == ("M", "created")


@pytest.mark.parametrize("name", ["id", "sid", "seq", "sending_ts_ms"])
@pytest.mark.parametrize("value", ['"1"', "true", "[]", "{}", "NaN", "1.5e999", '""'])
def test_what_cannot_be_read_of_an_envelope_is_absent(name: str, value: str) -> None:
    frame = decode_frame(f'{{"type":"x","{name}":{value},"msg":{{"a":1}}}}'.encode())
    assert frame == Frame("x", msg={"a": 1})


def test_subscribe_command() -> None:
    assert json.loads(frames.subscribe_command(3, "market_lifecycle_v2")) == {
        "id": 3,
        "cmd": "subscribe",
        "params": {"channels": ["market_lifecycle_v2"]},
    }


def test_numbers_begin_at_one() -> None:
    sequence = Sequence()
    assert not sequence.missing(1)
    assert not sequence.missing(2)
    assert sequence.missing(5) == "expected 3, got 5"
    assert not sequence.missing(6)
    assert Sequence().missing(2) == "expected 1, got 2", "the first message was lost"


def test_repeated_and_late_numbers_are_no_gap() -> None:
    sequence = Sequence()
    assert sequence.missing(5)
    assert not sequence.missing(5)
    assert sequence.missing(7)
    assert not sequence.missing(6)
    assert not sequence.missing(8)


def test_messages_without_number_change_nothing() -> None:
    sequence = Sequence()
    sequence.missing(5)
    assert not sequence.missing(None)
    assert not sequence.missing(6)


def test_a_count_that_begins_again_is_a_gap() -> None:
    sequence = Sequence()
    sequence.missing(5000)
    assert sequence.missing(1)
    assert not sequence.missing(2)


@given(st.integers(0, 2000), st.sets(st.integers(1, 30), max_size=10))
def test_a_gap_is_seen_exactly_where_numbers_are_missing(start: int, dropped: set[int]) -> None:
    sequence = Sequence()
    sequence.missing(start)
    previous = start
    for seq in (start + n for n in range(1, 32) if n not in dropped):
        assert bool(sequence.missing(seq)) == (seq != previous + 1)
        previous = seq
