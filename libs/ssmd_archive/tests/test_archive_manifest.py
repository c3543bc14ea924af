"""The manifest's lines, and what a crash leaves of the last one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmd_archive import manifest
from ssmd_archive.errors import UnreadableLine
from ssmd_archive.manifest import Chain, Expired, File, Hole, HoleLine, Old, Removed, Segment, State

BASE: dict[str, Any] = {
    "stream": "SECMASTER_CDC",
    "created": "2026-11-28T17:00:00.1Z",
    "chain": 1,
    "from_seq": 1,
    "to_seq": 3,
    "previous": None,
}
TIME = "2026-11-28T17:00:00.123456789Z"
FILE = File(
    path="markets/1700-000000000001.jsonl.gz",
    table="markets",
    messages=2,
    bytes=10,
    raw_bytes=20,
    sha256="00",
    from_seq=1,
    to_seq=3,
    first_time=TIME,
    last_time=TIME,
)
LINES: list[manifest.Line] = [
    Chain(**BASE, why="the archive begins"),
    Chain(**BASE, why="made anew", old=Old(created="x", chain=1, to_seq=7)),
    Segment(
        **BASE,
        window=TIME,
        messages=2,
        first_time=TIME,
        last_time=TIME,
        counts={"markets": {"market_updated": 2}},
        files=[FILE],
        holes=[Hole(from_seq=2, to_seq=2, why="purged")],
    ),
    HoleLine(**BASE, why="purged"),
    Expired(**BASE, why="retention"),
    State(**BASE, window=TIME, after_seq=3, snapshot="1:1:", lsn="0/1", epoch=1, files=[]),
    Removed(**BASE, days=["2026-11-01"], last_line="00"),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: type(line).__name__)
def test_a_line_comes_back(line: manifest.Line) -> None:
    text = manifest.encode(line)
    assert text.count(b"\n") == 1
    assert manifest.decode(text[:-1]) == line
    assert manifest.digest(text) == manifest.digest(text[:-1])


def test_messages_and_holes_make_up_the_range() -> None:
    segment = LINES[2]
    assert isinstance(segment, Segment)
    assert segment.messages + manifest.missing(segment) == segment.to_seq + 1 - segment.from_seq


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"\0\0", b'{"what":"segment"}', b'{"v":2,"what":"hole"}', b"[]", b"\xff"]
)
def test_what_is_no_line_is_refused(text: bytes) -> None:
    with pytest.raises(UnreadableLine):
        manifest.decode(text)


@pytest.mark.parametrize("line", LINES, ids=lambda line: type(line).__name__)
def test_every_changed_byte_of_a_line_is_seen(line: manifest.Line) -> None:
    """Also of the newest line, which no other has hashed yet."""
    text = manifest.encode(line)[:-1]
    for place in range(len(text)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(text)
            changed[place] ^= flip
            with pytest.raises(UnreadableLine):
                manifest.decode(bytes(changed))


CONTENT = b"".join(map(manifest.encode, LINES))
BEFORE_LAST = len(CONTENT) - len(manifest.encode(LINES[-1]))


@given(st.integers(BEFORE_LAST, len(CONTENT)), st.binary(max_size=3))
def test_only_the_torn_last_line_is_cut(kept: int, garbage: bytes) -> None:
    content = CONTENT[:kept] + b"\0" * (len(CONTENT) - kept)
    expected = len(CONTENT) if kept == len(CONTENT) else BEFORE_LAST
    assert manifest.whole_lines(content[:kept]) in (expected, kept if kept == BEFORE_LAST else -1)
    if kept < len(CONTENT) - 1:
        assert manifest.whole_lines(content[:-1] + b"\n") == BEFORE_LAST
        assert manifest.whole_lines(content) == BEFORE_LAST
    assert manifest.whole_lines(CONTENT + garbage.replace(b"\n", b"")) == len(CONTENT)


def test_a_manifest_without_a_whole_line_is_empty() -> None:
    assert manifest.whole_lines(b"") == 0
    assert manifest.whole_lines(b"{") == 0
    assert manifest.whole_lines(b"{\n") == 0
