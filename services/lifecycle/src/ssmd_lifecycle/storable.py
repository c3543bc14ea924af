"""What of a frame PostgreSQL can hold, so that its row keeps the rest of its words. Pure.

jsonb refuses NUL and half surrogate pairs, and readers of what is stored give up on depth. A field
that has one of them, or that is foreign JSON of great size, is kept as the escaped beginning of its
own JSON text, as {"unreadable": "…"}: read again, it is as unreadable as it was.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 32
MAX_BYTES: Final = 16_384
"""Of a value that is an object or a list, as JSON."""
KEPT_CHARACTERS: Final = 2000
_MARK: Final = "unreadable"
_NAME_CHARACTERS: Final = 256

_suspicious: Final = re.compile(
    # NUL and surrogates; numbers of hundreds of digits, written out or with an exponent.
    rb"\\u(?:0000|[dD][89a-fA-F])|[0-9]{300}|[0-9][eE]\+?[0-9]{3}"
).search


def is_suspicious(raw: bytes) -> bool:
    """Whether a frame, which is valid JSON, may hold what is not to be stored as it is."""
    return (
        len(raw) > MAX_BYTES
        or raw.count(b"{") + raw.count(b"[") > MAX_DEPTH
        or _suspicious(raw) is not None
        or not _is_utf8(raw)
    )


def storable(document: Mapping[str, Any]) -> dict[str, Any]:
    """A frame with each field as it can be stored; of `msg` and its metadata each field alone."""
    return _fields(document, ("msg", "additional_metadata"))


def _fields(document: Mapping[str, Any], inner: tuple[str, ...]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in document.items():
        name = name if _is_text(name) else escaped(name)[:_NAME_CHARACTERS]
        if inner and name == inner[0] and isinstance(value, dict):
            kept[name] = _fields(value, inner[1:])
        else:
            kept[name] = value if is_storable(value) else marked(value)
    return kept


def is_storable(value: Any) -> bool:
    """Whether jsonb takes a field's value, and whoever reads it afterwards."""
    return _holds(value, MAX_DEPTH) and (
        not isinstance(value, dict | list) or len(msgspec.json.encode(value)) <= MAX_BYTES
    )


def marked(value: Any) -> dict[str, str]:
    """What stands for a value that is not stored."""
    return {_MARK: escaped(value)}


def is_marked(value: Any) -> bool:
    """Whether the value is what stands for an unreadable one."""
    return isinstance(value, dict) and value.keys() == {_MARK}


def escaped(value: Any) -> str:
    """The beginning of a value's JSON in ASCII, for people."""
    return json.dumps(value, ensure_ascii=True)[:KEPT_CHARACTERS]


def _holds(value: Any, depth: int) -> bool:
    match value:
        case str():
            return _is_text(value)
        case float():
            return math.isfinite(value)
        case int():
            return value.bit_length() <= 1024
        case dict():
            return depth > 0 and all(
                _is_text(name) and _holds(item, depth - 1) for name, item in value.items()
            )
        case list():
            return depth > 0 and all(_holds(item, depth - 1) for item in value)
        case _:
            return True


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_text(text: str) -> bool:
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
