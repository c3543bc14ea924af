"""WebSocket frames, error codes and sequence numbers."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_kalshi import frames
from ssmd_kalshi.errors import BrokenReplyError
from ssmd_kalshi.frames import Frame, decode_frame
from ssmd_kalshi.sequences import Sequence
from ssmd_kalshi.shallow import MAX_DEPTH


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
        b'{"type":"x"',
        b'{"type":"x","msg":' + b"[" * 50_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_frame_is_a_typed_error(raw: bytes) -> None:
    with pytest.raises(BrokenReplyError):
        decode_frame(raw)


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


@pytest.mark.parametrize("value", ['"a"', "1.5", "true", "{}", "[]", "1e999", "1" * 5000, "null"])
@pytest.mark.parametrize("name", ["id", "sid", "seq", "sending_ts_ms"])
def test_an_unreadable_field_of_the_envelope_costs_itself(name: str, value: str) -> None:
    fields = {"id": "1", "sid": "2", "seq": "3", "sending_ts_ms": "4"}
    raw = ",".join(f'"{n}":{v}' for n, v in {**fields, name: value}.items())
    frame = decode_frame(f'{{"type":"t",{raw},"msg":{{"a":5}}}}'.encode())
    expected = {n: int(v) for n, v in fields.items() if n != name}
    assert {n: getattr(frame, n) for n in expected} == expected
    assert frame.body == {"a": 5}
    # sending_ts_ms may have a fraction.
    assert getattr(frame, name) in (None, 1.5 if name == "sending_ts_ms" else None)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (rb'"\ud800"', "\ud800"),
        (b'"\xff"', "\udcff"),
        (rb'"\u0000"', "\x00"),
        (b'"a\nb"', "a\nb"),
    ],
)
def test_an_unreadable_value_of_the_body_costs_itself(value: bytes, read: Any) -> None:
    frame = decode_frame(b'{"type":"t","seq":3,"msg":{"bad":%b,"good":"\xc3\xa9"}}' % value)
    assert (frame.type, frame.seq) == ("t", 3)
    assert frame.body == {"bad": read, "good": "é"}


@pytest.mark.parametrize("value", ["1e999", "7" * 5000, "NaN"])
def test_a_number_that_is_none_costs_itself(value: str) -> None:
    frame = decode_frame(f'{{"type":"t","msg":{{"bad":{value},"good":5}}}}'.encode())
    assert frame.body["good"] == 5
    assert frame.body["bad"].text == value


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_depth_costs_the_value(opening: str) -> None:
    closing = "}" if opening[0] == "{" else "]"
    for depth in (60, 2000, 100_000):
        value = opening * depth + "1" + closing * depth
        frame = decode_frame(f'{{"type":"t","msg":{{"bad":{value},"t":"]}}","good":5}}}}'.encode())
        assert (frame.body["good"], frame.body["t"]) == (5, "]}")
        deepest, found = frame.body["bad"], 0
        while isinstance(deepest, dict | list) and deepest:
            deepest, found = deepest["a" if isinstance(deepest, dict) else 0], found + 1
        assert found == (depth if depth == 60 else MAX_DEPTH - 2)
