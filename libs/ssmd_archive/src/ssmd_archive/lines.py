"""A message as a line of the archive, and back (docs/archive.md). Pure.

A line is the message's own bytes with two members put in front, so that taking them away gives the
payload byte for byte. What cannot stand on a line so is carried in base64.
"""

import base64
import re
from collections import Counter
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from ssmd_archive.errors import UnreadableLine

MOST_TYPES: Final = 100
"""Types of one table that a segment counts by name; whatever comes after them is `other`."""
UNTYPED: Final = "other"

_LINE: Final = re.compile(
    rb'\{"_seq":([1-9][0-9]{0,19}),"_stored_at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z",'
)
_OTHER: Final = re.compile(rb'"_subject":("(?:[^"\\]|\\.)*"),"_payload":"([A-Za-z0-9+/=]*)"\}')
# Members before the type that are no objects: what is searched is what a JSON parser would find.
_TYPE: Final = re.compile(
    rb'\{(?:"[a-z]+":(?:"[^"\\]*"|-?[0-9]+|null),)*?"type":"([a-z][a-z0-9_]{0,63})"[,}]'
)


class Line(NamedTuple):
    """A message that was read back. `subject` is known of what was carried in base64 only."""

    sequence: int
    stored_at_ns: int
    payload: bytes
    subject: str | None = None


def timestamp(nanoseconds: int) -> str:
    """A time since 1970 as `2026-11-28T17:00:00.123456789Z`: always nine digits."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_second(seconds)}.{rest:09d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def nanoseconds(text: str) -> int:
    """The inverse of `timestamp`; ValueError for anything else."""
    seconds, dot, rest = text.removesuffix("Z").partition(".")
    if not dot or len(rest) != 9 or not rest.isdecimal() or not text.endswith("Z"):
        raise ValueError(f"{text!r} is no time with nine digits and a Z")
    return _since_1970(seconds) * 1_000_000_000 + int(rest)


@lru_cache(maxsize=64)
def _since_1970(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())


_raw: Final = msgspec.json.Decoder(msgspec.Raw)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def can_be_carried(payload: bytes) -> bool:
    """Whether the payload is one line: a JSON object in UTF-8 that is not empty and has no line
    break, whose own members are not those that a line puts in front.
    """
    if (
        payload[:2] != b'{"'
        or payload[:3] == b'{"_'
        or payload[-1:] != b"}"
        or b"\n" in payload
        or b"\r" in payload
    ):
        return False
    try:
        if not payload.isascii():
            payload.decode()
        _raw.decode(payload)
        if b'"_seq"' in payload or b'"_stored_at"' in payload:
            return _members.decode(payload).keys().isdisjoint(("_seq", "_stored_at"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def encode(sequence: int, stored_at_ns: int, payload: bytes) -> bytes:
    """The line, with its end, of a message that can be carried."""
    seconds, rest = divmod(stored_at_ns, 1_000_000_000)
    return b'{"_seq":%d,"_stored_at":"%b.%09dZ",%b\n' % (
        sequence,
        _second_bytes(seconds),
        rest,
        payload[1:],
    )


@lru_cache(maxsize=64)
def _second_bytes(seconds: int) -> bytes:
    return _second(seconds).encode()


def encode_other(sequence: int, stored_at_ns: int, subject: str, payload: bytes) -> bytes:
    """The line, with its end, of any message: its subject, and its payload in base64."""
    named = msgspec.json.encode(subject.encode("utf-8", "replace").decode())
    own = b'{"_subject":%b,"_payload":"%b"}' % (named, base64.b64encode(payload))
    return encode(sequence, stored_at_ns, own)


def decode(line: bytes) -> Line:
    """Read a line, without its end.

    Raises:
        UnreadableLine: it is no line of ours. Whether its payload is JSON is not looked at.
    """
    match = _LINE.match(line)
    if match is None or line[-1:] != b"}" or line[match.end() : match.end() + 1] != b'"':
        raise UnreadableLine("a line does not begin with _seq and _stored_at, or does not end")
    try:
        stored_at = _since_1970(match[2].decode()) * 1_000_000_000 + int(match[3])
    except ValueError as error:
        raise UnreadableLine(f"a line has a time that does not exist: {match[2]!r}") from error
    rest = line[match.end() :]
    if not rest.startswith(b'"_'):
        return Line(int(match[1]), stored_at, b"{" + rest)
    other = _OTHER.fullmatch(rest)
    try:
        if other is None:
            raise UnreadableLine("a line has members with _ that no line of ours has")
        subject: str = msgspec.json.decode(other[1], type=str)
        payload = base64.b64decode(other[2], validate=True)
    except (ValueError, msgspec.MsgspecError) as error:
        raise UnreadableLine(f"a line's subject or payload cannot be read: {error}") from error
    return Line(int(match[1]), stored_at, payload, subject)


class _Typed(msgspec.Struct):
    type: Any = None


_typed: Final = msgspec.json.Decoder(_Typed)


def type_of(payload: bytes) -> str:
    """What a message says it is (`market_settled`); `UNTYPED` where it says nothing readable."""
    match = _TYPE.match(payload)
    if match is not None:
        return _text(match[1])
    try:
        found = _typed.decode(payload).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return UNTYPED
    if isinstance(found, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,63}", found):
        return found
    return UNTYPED


CHANNELS: Final = frozenset(("trade", "ticker", "book", "unreadable", "books_unreadable"))
RECORDS: Final = frozenset(("session", "books_session"))
_WHAT: Final = re.compile(rb'"what":"([a-z][a-z_]{0,63})"')


def kind_of(folder: str, payload: bytes) -> str:
    """As what a message counts in its folder: of market data its channel, of records of the capture
    what happened, of changes their type.
    """
    if folder in CHANNELS:
        return folder
    if folder in RECORDS:
        match = _WHAT.search(payload)
        return UNTYPED if match is None else _text(match[1])
    return type_of(payload)


@lru_cache(maxsize=1024)
def _text(word: bytes) -> str:
    return word.decode()


def count_type(counts: Counter[str], kind: str) -> None:
    """Count a message of one table in a segment, in the order of its lines.

    Others than cdc publish, too: their types must not fill the manifest.
    """
    counts[kind if kind in counts or len(counts) < MOST_TYPES else UNTYPED] += 1
