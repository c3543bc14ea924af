"""A message as a line, and back."""

import json
from collections import Counter

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ssmd_archive import lines
from ssmd_archive.errors import UnreadableLine

SEQUENCES = st.integers(1, 2**63)
TIMES = st.integers(0, 4_000_000_000 * 10**9)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=5).map(
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
)
PAYLOADS = (
    OBJECTS
    | st.binary()
    | st.sampled_from(
        [
            b"",
            b"{}",
            b"{ }",
            b"[]",
            b'{"a":1}x',
            b'{"a":"\xff"}',
            b'{"a":1,\n"b":2}',
            b'{"a":1,\r"b":2}',
            b'{"_seq":1}',
            b'{"_subject":"x","_payload":""}',
            b'{"a":{"_seq":1}}',
            b'{"a":1,"_seq":1}',
            b'{"a":"\\"_seq\\""}',
            b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
            b'{"a":NaN}',
            '{"a":"é\u2028"}'.encode(),
        ]
    )
)


@given(SEQUENCES, TIMES, st.text(), PAYLOADS)
def test_a_line_gives_its_message_back_byte_for_byte(
    sequence: int, stored_at_ns: int, subject: str, payload: bytes
) -> None:
    carried = lines.can_be_carried(payload)
    if carried:
        line = lines.encode(sequence, stored_at_ns, payload)
    else:
        line = lines.encode_other(sequence, stored_at_ns, subject, payload)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    found = lines.decode(line[:-1])
    assert (found.sequence, found.stored_at_ns, found.payload) == (sequence, stored_at_ns, payload)
    assert (found.subject is None) == carried
    # Any JSON parser reads it, and no member stands there twice.
    pairs = json.loads(line, object_pairs_hook=lambda pairs: pairs)
    names = [name for name, _ in pairs]
    assert names[:2] == ["_seq", "_stored_at"]
    assert Counter(names).keys().isdisjoint(names[2:] if carried else ()) or not {
        "_seq",
        "_stored_at",
    } & set(names[2:])
    if carried:
        assert json.loads(payload, object_pairs_hook=lambda pairs: pairs) == pairs[2:]


@given(PAYLOADS)
def test_what_is_carried_as_it_is_is_an_object_on_one_line(payload: bytes) -> None:
    if lines.can_be_carried(payload):
        assert isinstance(json.loads(payload.decode()), dict)
        assert payload.splitlines() == [payload]


def test_what_our_publisher_sends_is_carried_as_it_is() -> None:
    for payload in (
        b'{"v":1,"table":"markets","data":{"extra":{"_seq":1},"title":"a \\"_seq\\""}}',
        '{"v":1,"data":{"title":"é"}}'.encode(),
    ):
        assert lines.can_be_carried(payload)


@given(TIMES)
def test_times_have_nine_digits_and_come_back(nanoseconds: int) -> None:
    text = lines.timestamp(nanoseconds)
    assert len(text) == 30
    assert lines.nanoseconds(text) == nanoseconds


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"_seq":0,"_stored_at":"2026-11-28T17:00:00.123456789Z","a":1}',
        b'{"_seq":1,"_stored_at":"2026-13-28T17:00:00.123456789Z","a":1}',
        b'{"_seq":1,"_stored_at":"2026-11-28T17:00:00.12345678Z","a":1}',
        b'{"_seq":1,"_stored_at":"2026-11-28T17:00:00.123456789Z",}',
        b'{"_seq":1,"_stored_at":"2026-11-28T17:00:00.123456789Z","a":1',
        b'{"_seq":1,"_stored_at":"2026-11-28T17:00:00.123456789Z","_x":1}',
        b'{"_seq":1,"_stored_at":"2026-11-28T17:00:00.123456789Z","_subject":"a","_payload":"A"}',
    ],
)
def test_what_is_no_line_is_refused(line: bytes) -> None:
    with pytest.raises(UnreadableLine):
        lines.decode(line)


KINDS = st.sampled_from(["market_settled", "a", "Market", "", "x" * 64, "x" * 65, 1, None, "a-b"])


@given(OBJECTS, KINDS, st.booleans())
@example(b'{"v":1,"a":{"type":"b"}}', "a", False)
@example(b'{"v":1,"a":"\\",\\"type\\":\\"b\\""}', "a", False)
def test_the_quick_look_finds_the_type_that_a_parser_finds(
    more: bytes, kind: object, first: bool
) -> None:
    text = json.dumps(kind).encode()
    member = b'"type":' + text
    inner = more[1:-1]
    body = [member, inner] if first else [inner, member]
    payload = b"{" + b",".join(part for part in body if part) + b"}"
    try:
        members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    if payload.count(b'"type":') > 1 and b'"type":' in inner:
        return
    expected = msgspec.json.decode(members["type"])
    if not (isinstance(expected, str) and expected in ("market_settled", "a", "x" * 64)):
        expected = lines.UNTYPED
    assert lines.type_of(payload) == expected


def test_types_of_others_do_not_fill_the_manifest() -> None:
    counts: Counter[str] = Counter()
    for number in range(1000):
        lines.count_type(counts, f"t{number}")
    lines.count_type(counts, "t0")
    assert len(counts) == lines.MOST_TYPES + 1
    assert counts["t0"] == 2
    assert counts.total() == 1001
