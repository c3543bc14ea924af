"""pgoutput's messages: what is well-formed is read, whatever else raises the one typed error."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_cdc.encode.envelope import Envelope
from ssmd_cdc.encode.translate import Table, translate
from ssmd_cdc.errors import MalformedMessage, UnreadableValue
from ssmd_cdc.replication.pgoutput import (
    UNCHANGED,
    Begin,
    Column,
    Commit,
    Delete,
    Insert,
    Logical,
    Relation,
    Truncate,
    Update,
    Value,
    decode,
)

values = st.one_of(st.none(), st.just(UNCHANGED), st.binary(max_size=40))
rows = st.lists(values, max_size=8)


def make_envelope() -> Envelope:
    return Envelope(1, 2, 3, "2026-02-03T00:00:00.000000Z")


def encode_row(row: list[Value]) -> bytes:
    data = struct.pack(">H", len(row))
    for value in row:
        if value is None:
            data += b"n"
        elif isinstance(value, bytes):
            data += b"t" + struct.pack(">I", len(value)) + value
        else:
            data += b"u"
    return data


@given(relation=st.integers(0, 2**32 - 1), new=rows)
def test_insert(relation: int, new: list[Value]) -> None:
    data = b"I" + struct.pack(">I", relation) + b"N" + encode_row(new)
    assert decode(data) == Insert(relation, new)


@given(old=rows, new=rows, kind=st.sampled_from("OK"))
def test_update_with_the_row_or_the_key_before(
    old: list[Value], new: list[Value], kind: str
) -> None:
    data = b"U" + struct.pack(">I", 7) + kind.encode() + encode_row(old) + b"N" + encode_row(new)
    if kind == "K":
        assert decode(data) == Update(7, old, False, new)
    elif len(old) != len(new):
        with pytest.raises(MalformedMessage):
            decode(data)
    else:
        differing = [at for at, value in enumerate(new) if value != old[at]]
        assert decode(data) == Update(7, old, True, new, differing)


@given(new=rows)
def test_update_without_the_row_before(new: list[Value]) -> None:
    assert decode(b"U\0\0\0\7N" + encode_row(new)) == Update(7, None, False, new)


@given(old=rows)
def test_delete(old: list[Value]) -> None:
    assert decode(b"D\0\0\0\7O" + encode_row(old)) == Delete(7, old, True)


def test_the_rest() -> None:
    assert decode(struct.pack(">cQqI", b"B", 11, -5, 3)) == Begin(11, -5, 3)
    assert decode(struct.pack(">cBQQq", b"C", 0, 11, 22, 5)) == Commit(11, 22, 5)
    assert decode(struct.pack(">cIBII", b"T", 2, 0, 8, 9)) == Truncate((8, 9))
    relation = b"R\0\0\0\7public\0t\0f\0\1" + b"\1a\0" + struct.pack(">Ii", 25, -1)
    assert decode(relation) == Relation(7, "public", "t", "f", (Column("a", 25),))
    logical = b"M\1" + struct.pack(">Q", 5) + b"p\0" + struct.pack(">I", 3) + b"abc"
    assert decode(logical) == Logical(True, 5, "p", b"abc")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        decode(data)


@given(st.sampled_from(b"BCRIUDTMYO"), st.binary(max_size=120))
def test_any_body_is_read_or_refused(tag: int, body: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        decode(bytes([tag]) + body)


@given(new=rows, cut=st.integers(1, 30))
def test_a_cut_message_is_refused(new: list[Value], cut: int) -> None:
    data = b"I\0\0\0\7N" + encode_row(new)
    with pytest.raises(MalformedMessage):
        decode(data[: -min(cut, len(data) - 1)])


@given(st.sampled_from(b"IUD"), st.binary(max_size=120))
def test_a_row_of_any_bytes_becomes_a_message_or_a_marker(tag: int, body: bytes) -> None:
    table = Table.of("t", (Column("a", 23), Column("b", 25)), ("a",), {})
    data = bytes([tag]) + b"\0\0\0\7" + body
    messages = translate(make_envelope(), {7: table}, data)
    assert [message.seq for message in messages] == list(range(len(messages)))
    assert messages


def test_a_row_of_an_unknown_table_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        translate(make_envelope(), {}, b"I\0\0\0\7N" + encode_row([b"1"]))


def test_errors_are_ours() -> None:
    assert not issubclass(UnreadableValue, ValueError)
