"""Whose filter a subject passes: as NATS would say, however many filters there are."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ssmd_api.changefilter import ChangeFilter
from ssmd_api.ring import Channel, Ring, framed, unframed
from ssmd_api.serversent import BEGINNING, Event, EventId
from ssmd_api.subjects import SubjectIndex

TOKENS = st.sampled_from(["a", "b", "c", "%2E"])
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=5).map(".".join)
FILTERS = st.builds(
    lambda tokens, rest: ".".join([*tokens, ">"] if rest else tokens),
    st.lists(st.one_of(TOKENS, st.just("*")), min_size=1, max_size=5),
    st.booleans(),
)


def passes(filter_: str, subject: str) -> bool:
    """The same by a regular expression."""
    parts = {"*": r"[^.]+", ">": r".+"}
    pattern = r"\.".join(parts.get(token, re.escape(token)) for token in filter_.split("."))
    return re.fullmatch(pattern, subject) is not None


@given(st.lists(st.lists(FILTERS, max_size=4), max_size=6), st.lists(SUBJECTS, max_size=5))
def test_an_index_finds_whose_filters_a_subject_passes(
    of: list[list[str]], subjects: list[str]
) -> None:
    index: SubjectIndex[int] = SubjectIndex()
    for whose, filters in enumerate(of):
        index.add(whose, filters)
    # Every second one goes again; what is left is as if it had never been there.
    for whose, filters in list(enumerate(of))[::2]:
        index.remove(whose, dict.fromkeys(filters))
    for subject in subjects:
        expected = {
            whose
            for whose, filters in list(enumerate(of))[1::2]
            if any(passes(filter_, subject) for filter_ in filters)
        }
        assert index.matching(subject) == expected
    for whose, filters in list(enumerate(of))[1::2]:
        index.remove(whose, dict.fromkeys(filters))
    assert index._root.is_empty


def event(sequence: int, subject: str = "cdc.series.update.A", size: int = 10) -> Event:
    return Event(EventId(sequence, f"3:0/{sequence}:0"), subject, "x", b"%d" % sequence * size)


def test_a_ring_holds_what_came_last_in_so_many_bytes() -> None:
    ring = Ring(10_000)
    ring.begin(1, BEGINNING)
    assert ring.after(BEGINNING) is True
    everything = Channel(ChangeFilter())
    for first in range(1, 200, 2):
        ring.add([event(first), event(first + 1)])
        ring.part(ring.next_batch - 1, everything)
    assert ring.next_sequence == 201
    assert ring._bytes <= 10_000
    held = ring.sequence_of(ring.first_batch)
    assert 150 < held < 200
    assert ring.holds(held)
    assert ring.holds(201)
    assert not ring.holds(held - 1)
    assert not ring.holds(202)
    # What is told of an id: it is there, it is another one, it is not known any more.
    assert ring.after(EventId(199, "3:0/199:0")) is True
    assert ring.after(EventId(199, "4:0/199:0")) is False
    assert ring.after(EventId(held - 1, f"3:0/{held - 1}:0")) is True
    assert ring.after(EventId(held - 2, f"3:0/{held - 2}:0")) is None
    assert ring.after(200) is True
    assert ring.after(500) is None
    number = ring.batch_of(200)
    assert [e.id.sequence for e in ring.events_of(number)] == [199, 200]
    assert unframed(everything.joined(ring.events_of(number), start=200)) == b"200" * 10
    ring.begin(7, None)
    assert ring.after(EventId(6, "x")) is None
    assert ring._bytes == 0


def test_what_readers_of_a_filter_get_of_a_batch_is_one_buffer() -> None:
    ring = Ring(1 << 20)
    ring.begin(1, BEGINNING)
    ring.add([event(1), event(2, "cdc.series.update.B")])
    one, same = Channel(ChangeFilter(series="A")), Channel(ChangeFilter(series="A"))
    assert ring.part(0, one) is ring.part(0, same)
    assert unframed(ring.part(0, one)) == b"1" * 10
    assert ring.part(0, Channel(ChangeFilter(series="C"))) == b""


def test_a_chunk_is_framed_as_http_does() -> None:
    assert framed(b"x" * 31) == b"1f\r\n" + b"x" * 31 + b"\r\n"
    assert unframed(framed(b"\r\n")) == b"\r\n"
    assert framed(b"") == b""


def test_unreadable_events_pass_every_filter_of_types() -> None:
    wanted: Any = Channel(ChangeFilter(types=("wanted",)))
    unreadable = Event(EventId(1, "-"), "cdc.markets.update._._._", None, b"")
    assert wanted.takes(unreadable)
    assert not wanted.takes(event(1))
