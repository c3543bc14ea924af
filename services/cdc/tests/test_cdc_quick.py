"""The quick way makes the very bytes that the thorough one makes, or leaves the message to it."""

import struct
from typing import Any
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

from ssmd_cdc.envelope import Envelope, Outgoing
from ssmd_cdc.pgoutput import UNCHANGED, Column, Value
from ssmd_cdc.quick import Quick
from ssmd_cdc.shape import Shape
from ssmd_cdc.translate import translate

NAMES = ["ticker", "series_ticker", "event_ticker", "status", "deleted_at", "title", "a", "b"]
TYPES = [25, 23, 16, 1700, 1184, 3802, 1007]


def encode(row: list[Value]) -> bytes:
    parts = [struct.pack(">H", len(row))]
    for value in row:
        if isinstance(value, bytes):
            parts.append(b"t" + struct.pack(">I", len(value)) + value)
        else:
            parts.append(b"n" if value is None else b"u")
    return b"".join(parts)


def message(old: list[Value], new: list[Value]) -> bytes:
    return b"U\0\0\0\7O" + encode(old) + b"N" + encode(new)


def both_ways(shape: Shape, data: bytes) -> tuple[list[Outgoing], list[Outgoing]]:
    def made() -> list[Outgoing]:
        envelope = Envelope(1, 2, 3, "2026-02-03T00:00:00.000000Z")
        return translate(envelope, {7: shape}, data) + translate(envelope, {7: shape}, data)

    quick = made()
    with patch.object(Quick, "update", return_value=None):
        return quick, made()


# Also what only looks like the beginning of a column.
texts = st.one_of(
    st.text(max_size=8).map(str.encode),
    st.binary(max_size=8),
    st.sampled_from([b"", b"t", b"t\0\0", b"t\0\0\0\1x", b"12", b"2026-02-03 00:00:00+00", b"n"]),
    st.integers(120, 300).map(lambda size: b"x" * size),
)
values = st.one_of(texts, texts, texts, st.none(), st.just(UNCHANGED))


@st.composite
def updates(draw: Any) -> tuple[Shape, bytes]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    columns = [Column(name, draw(st.sampled_from(TYPES))) for name in names]
    table = draw(st.sampled_from(["markets", "events", "elsewhere"]))
    shape = Shape.of(table, columns, draw(st.sets(st.sampled_from(names))), {})
    old = draw(st.lists(values, min_size=len(names), max_size=len(names)))
    new = [draw(values) if draw(st.integers(0, 2)) == 0 else value for value in old]
    data = message(old, new)
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(6, len(data) - 1))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + 1 :]
    return shape, data


@given(updates())
@example((Shape.of("t", [Column("a", 25)], (), {}), message([None], [None])))
@example((Shape.of("markets", [Column("ticker", 16)], (), {}), message([b"\x80"], [b"\x80"])))
@example((Shape.of("t", [Column("a", 25)], (), {}), message([b"x" * 70_000], [b"y" * 70_000])))
def test_both_ways_make_the_same(update: tuple[Shape, bytes]) -> None:
    quick, thorough = both_ways(*update)
    assert quick == thorough


def test_a_plain_update_goes_the_quick_way() -> None:
    shape = Shape.of(
        "markets",
        [Column("title", 25), Column("ticker", 25), Column("yes_bid", 23), Column("result", 25)],
        ["ticker"],
        {},
    )
    envelope = Envelope(1, 2, 3, "2026-02-03T00:00:00.000000Z")
    old: list[Value] = [None, b"KX-1", b"45", None]
    plain = shape.quick.update(envelope, message(old, [None, b"KX-1", b"46", None]))
    assert plain is not None
    assert b'"data":{"title":null,"ticker":"KX-1","yes_bid":46,"result":null}' in plain.payload
    assert b'"changes":{"yes_bid":{"old":45,"new":46}}' in plain.payload
    for unusual in ([None, b"KX-2", b"45", None], [None, b"KX-1", b"45", b"yes"]):
        assert shape.quick.update(envelope, message(old, list(unusual))) is None
    assert envelope.seq == 1
