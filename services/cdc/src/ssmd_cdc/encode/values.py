"""A column's text, as PostgreSQL writes it, to JSON: exact, whatever the value.

Integers become JSON integers, NUMERIC strings (0.4500 stays 0.4500; NaN and Infinity too), json
and jsonb themselves, arrays arrays. Times need a session with DateStyle ISO and TimeZone UTC:
they are spelled as `ssmd_common.times` says. Anything else is its text as a string.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from ssmd_cdc.errors import UnreadableValue
from ssmd_common.errors import MalformedTime
from ssmd_common.times import spelled

ToJson: TypeAlias = Callable[[bytes], bytes]

NULL: Final = b"null"

# Most columns hold few different values, whose JSON is worth keeping: what is made of them is kept
# up to this size and this number for each column.
LONGEST_KEPT: Final = 128
MOST_KEPT: Final = 512

_encode = msgspec.json.Encoder().encode


class TypeInfo(msgspec.Struct, frozen=True):
    """A row of pg_type: `element` for arrays, `base` for domains (else 0)."""

    oid: int
    element: int
    base: int
    delimiter: str


def text(raw: bytes) -> bytes:
    return _encode(raw.decode())


def integer(raw: bytes) -> bytes:
    return raw


def boolean(raw: bytes) -> bytes:
    return b"true" if raw == b"t" else b"false"


def numeric(raw: bytes) -> bytes:
    return b'"%b"' % raw


def floating(raw: bytes) -> bytes:
    return raw if raw[-1:].isdigit() else b'"%b"' % raw


def json(raw: bytes) -> bytes:
    return raw


def timestamptz(raw: bytes) -> bytes:
    if raw[10:11] == b" " and raw[-3:] == b"+00":
        return b'"%bT%bZ"' % (raw[:10], raw[11:-3])
    return _unusual_time(raw)


def timestamp(raw: bytes) -> bytes:
    if raw[10:11] == b" " and raw[-1:] != b"C":
        return b'"%bT%b"' % (raw[:10], raw[11:])
    return _unusual_time(raw)


def date(raw: bytes) -> bytes:
    return b'"%b"' % raw if len(raw) == 10 else _unusual_time(raw)


def _unusual_time(raw: bytes) -> bytes:
    try:
        return b'"%b"' % spelled(raw)
    except MalformedTime as error:
        raise UnreadableValue(str(error)) from error


def array_of(element: ToJson, delimiter: str = ",") -> ToJson:
    """A converter for PostgreSQL's array text, of any dimensions, with these elements."""
    mark = re.escape(delimiter.encode())
    token = re.compile(
        rb'[{}]|%b|"((?:[^"\\]|\\.)*)"|([^{}"\\%b]+)' % (mark, mark),
        re.DOTALL,
    )

    def convert(raw: bytes) -> bytes:
        # Bounds other than 1 are written in front: [0:1]={…}.
        at = raw.find(b"=") + 1 if raw[:1] == b"[" else 0
        if raw[at : at + 1] != b"{" or raw[-1:] != b"}":
            raise UnreadableValue("an array is not in PostgreSQL's form")
        parts: list[bytes] = []
        while at < len(raw):
            match = token.match(raw, at)
            if match is None:
                raise UnreadableValue("an array is not in PostgreSQL's form")
            at = match.end()
            quoted, bare = match.groups()
            if quoted is not None:
                parts.append(element(_ESCAPED.sub(rb"\1", quoted)))
            elif bare is not None:
                parts.append(NULL if bare == b"NULL" else element(bare))
            else:
                parts.append(_PUNCTUATION.get(match[0], b","))
        return b"".join(parts)

    return convert


_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PUNCTUATION = {b"{": b"[", b"}": b"]"}

_SCALARS: Final[Mapping[int, ToJson]] = {
    16: boolean,
    20: integer,
    21: integer,
    23: integer,
    26: integer,
    114: json,
    700: floating,
    701: floating,
    1082: date,
    1114: timestamp,
    1184: timestamptz,
    1700: numeric,
    3802: json,
}

# Array types of PostgreSQL itself, by their element type.
_ARRAYS: Final[Mapping[int, int]] = {
    199: 114, 1000: 16, 1001: 17, 1002: 18, 1003: 19, 1005: 21, 1007: 23, 1009: 25, 1014: 1042,
    1015: 1043, 1016: 20, 1021: 700, 1022: 701, 1028: 26, 1115: 1114, 1182: 1082, 1183: 1083,
    1185: 1184, 1187: 1186, 1231: 1700, 1270: 1266, 2951: 2950, 3807: 3802,
}  # fmt: skip

FIRST_USER_OID: Final = 16384
"""Types below are PostgreSQL's own and the same everywhere."""


def is_known(type_oid: int) -> bool:
    """Whether `converter` needs no catalogue for this type."""
    return type_oid < 10000 and (
        type_oid in _SCALARS or type_oid in _ARRAYS or type_oid in _PLAIN_TEXT
    )


_PLAIN_TEXT: Final = frozenset({17, 18, 19, 25, 1042, 1043, 1083, 1186, 1266, 2950})


def converter(type_oid: int, catalogue: Mapping[int, TypeInfo]) -> ToJson:
    """The converter of a type; `catalogue` tells of arrays and domains that are not built in."""
    scalar = _SCALARS.get(type_oid)
    if scalar is not None:
        return scalar
    if type_oid in _ARRAYS:
        return array_of(converter(_ARRAYS[type_oid], catalogue))
    info = catalogue.get(type_oid)
    if info is None:
        return text
    if info.base:
        return converter(info.base, catalogue)
    if info.element:
        return array_of(converter(info.element, catalogue), info.delimiter)
    return text
