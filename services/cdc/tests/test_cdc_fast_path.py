"""The fast path makes the very bytes that the encoder makes, or leaves the message to it."""

import struct
from typing import Any
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

from ssmd_cdc.encode.envelope import Envelope, Outgoing
from ssmd_cdc.encode.fast_path import FastPath
from ssmd_cdc.encode.translate import Table, translate
from ssmd_cdc.encode.values import MOST_KEPT
from ssmd_cdc.errors import MalformedMessage
from ssmd_cdc.replication.pgoutput import UNCHANGED, Column, Value

TIME = "2026-02-03T00:00:00.000000Z"
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


def both_ways(known: Table, data: bytes) -> tuple[Any, Any]:
    """What the messages are, or the error."""

    def made() -> list[Outgoing] | str:
        try:
            return translate(Envelope(1, 2, 3, TIME), {7: known}, data)
        except MalformedMessage as error:
            return str(error)

    fast = made()
    with patch.object(FastPath, "update", return_value=None):
        return fast, made()


# Also what only looks like the beginning of a column.
texts = st.one_of(
    st.text(max_size=8).map(str.encode),
    st.binary(max_size=8),
    st.sampled_from([b"", b"t", b"t\0\0", b"t\0\0\0\1x", b"12", b"2026-02-03 00:00:00+00", b"n"]),
    st.sampled_from([b"x" * 120, b"x" * 300, b"x" * 70_000]),
)
values = st.one_of(texts, texts, texts, st.none(), st.just(UNCHANGED))


@st.composite
def updates(draw: Any) -> tuple[Table, list[bytes]]:
    """A table, and updates that are alike, so that what was learnt from one meets the next."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    columns = [Column(name, draw(st.sampled_from(TYPES))) for name in names]
    table = draw(st.sampled_from(["markets", "events", "elsewhere"]))
    known = Table.of(table, columns, draw(st.sets(st.sampled_from(names))), {})
    row = draw(st.lists(values, min_size=len(names), max_size=len(names)))
    made = []
    for _ in range(draw(st.integers(1, 6))):
        old = [draw(values) if draw(st.integers(0, 5)) == 0 else value for value in row]
        new = [draw(values) if draw(st.integers(0, 3)) == 0 else value for value in old]
        data = message(old, new)
        if draw(st.integers(0, 3)) == 0:
            at = draw(st.integers(5, len(data) - 1))
            spoilt = st.one_of(st.binary(max_size=2), st.sampled_from([b"n", b"nn", b"N", b"O"]))
            data = data[:at] + draw(spoilt) + data[at + 1 :]
        made.append(data)
    return known, made


def table(*names: str, key: tuple[str, ...] = ()) -> Table:
    return Table.of("t", [Column(name, 25) for name in names], key, {})


def same(*row: Value) -> bytes:
    """An update that changes nothing."""
    return message(list(row), list(row))


LONG = b"x" * 70_000


@given(updates())
@example((table("a"), [same(None)]))
@example((Table.of("markets", [Column("ticker", 16)], (), {}), [same(b"\x80")]))
@example((table("a"), [message([LONG], [LONG + b"y"])]))
# A long text swallows the next column: then there are as many pieces as with a null.
@example((table("a", "b", "c", key=("a",)), [same(b"1", b"2", None), same(b"1", LONG, b"n")]))
@example((table("a", "b", "c", key=("a",)), [same(b"1", b"2", None), same(b"1", LONG, b"2")]))
# Another column is null, with as many pieces.
@example((table("a", "b", "c", key=("b",)), [same(b"1", b"2", None), same(None, b"2", b"1")]))
@example((table("a", "b", "c", key=("a",)), [same(b"1", b"2", None), same(b"1", None, b"2")]))
# A null in front came or went.
@example((table("a", "b", key=("b",)), [same(None, b"2"), message([b"n", b"2"], [None, b"2"])]))
@example((table("a", "b", key=("b",)), [message([None, b"2"], [b"2", b"2"])]))
# What begins a row says otherwise.
@example((table("a", key=("a",)), [same(b"1"), same(b"1").replace(b"O", b"K")]))
@example((table("a", key=("a",)), [same(b"1"), same(b"1").replace(b"O\0\1", b"O\0\2")]))
@example((table("a", key=("a",)), [same(b"1"), same(b"1").replace(b"N\0\1", b"N\0\2")]))
@example((table("a", key=("a",)), [same(b"1"), same(b"1").replace(b"O\0\1", b"O\0\1n")]))
@example((table("a", key=("a",)), [b"U\0\0\0\7O\0\1t\0\0N\0\1t\0\0"]))
@example((table("a", key=("a",)), [same(b"1"), same(b"1") + b"n"]))
@example((table("a", key=("a",)), [same(b"1"), same(b"1")[:-1]]))
def test_both_ways_make_the_same(update: tuple[Table, list[bytes]]) -> None:
    known, messages = update
    for data in messages:
        fast, thorough = both_ways(known, data)
        assert fast == thorough


def test_many_rows_of_changing_layouts() -> None:
    """Columns of few and of many values, nulls that come and go, and what is kept runs out."""
    columns = [Column("ticker", 25), Column("title", 25), Column("a", 1700), Column("b", 1184)]
    known = Table.of("markets", columns, ["ticker"], {})
    for number in range(5 * MOST_KEPT):
        title = b'"%d"' % number if number % 3 else None
        when = b"2026-02-03 00:00:00+00" if number % 7 else None
        old: list[Value] = [b"KX-%d" % (number % 5), title, b"0.%d" % (number % 9), when]
        data = message(old, [*old[:2], b"0.5", when])
        plain = known.fast_path.update(Envelope(1, 2, 3, TIME), data)
        with patch.object(FastPath, "update", return_value=None):
            assert translate(Envelope(1, 2, 3, TIME), {7: known}, data) == [plain]
    titles, others = known.fast_path.column_slot(1, 0), known.fast_path.column_slot(2, 0)
    # Each title is made anew, and those of the other column are looked up.
    assert titles.json != titles.__getitem__
    assert len(titles) <= 1
    assert others.json == others.__getitem__
    assert len(others) == 9


def test_whose_row_it_is_depends_on_which_columns_are_null() -> None:
    names = ["series_ticker", "yes_bid", "event_ticker", "ticker"]
    known = Table.of("markets", [Column(name, 25) for name in names], ["ticker"], {})
    for row in ([b"KX", b"1", None, b"KX-1"], [None, b"1", b"KX", b"KX-1"]):
        fast, thorough = both_ways(known, message(list(row), [row[0], b"2", *row[2:]]))
        assert fast == thorough


def test_what_is_learnt_is_bounded() -> None:
    columns = [Column("ticker", 25), *(Column(f"c{at}", 23) for at in range(12))]
    known = Table.of("markets", columns, ["ticker"], {})
    for number in range(1 << 12):
        row: list[Value] = [b"1" if number >> at & 1 else None for at in range(12)]
        assert known.fast_path.update(
            Envelope(1, 2, 3, TIME), message([b"KX", *row], [b"KX", *row])
        )
    assert len(known.fast_path._layouts) <= 1024


def test_a_plain_update_goes_the_quick_way() -> None:
    known = Table.of(
        "markets",
        [Column("title", 25), Column("ticker", 25), Column("yes_bid", 23), Column("result", 25)],
        ["ticker"],
        {},
    )
    envelope = Envelope(1, 2, 3, TIME)
    old: list[Value] = [None, b"KX-1", b"45", None]
    plain = known.fast_path.update(envelope, message(old, [None, b"KX-1", b"46", None]))
    assert plain is not None
    assert b'"data":{"title":null,"ticker":"KX-1","yes_bid":46,"result":null}' in plain.payload
    assert b'"changes":{"yes_bid":{"old":45,"new":46}}' in plain.payload
    for unusual in ([None, b"KX-2", b"45", None], [None, b"KX-1", b"45", b"yes"]):
        assert known.fast_path.update(envelope, message(old, list(unusual))) is None
    assert envelope.seq == 1


def test_the_values_that_are_kept_are_bounded_together() -> None:
    """Whatever nulls follow a column, and however many columns there are."""
    width = 100
    columns = [Column("ticker", 25), *(Column(f"c{at}", 23) for at in range(width))]
    known = Table.of("markets", columns, ["ticker"], {})
    most = 0
    for number in range(3 * (1 << 15) // width):
        # Some null, so that they differ in what follows them too.
        row: list[Value] = [
            None if (number + at) % 7 == 0 else b"%d" % (number % 400) for at in range(width)
        ]
        assert known.fast_path.update(
            Envelope(1, 2, 3, TIME), message([b"KX", *row], [b"KX", *row])
        )
        most = max(most, sum(map(len, known.fast_path._column_slots.values())))
    assert (1 << 14) < most <= 1 << 15
