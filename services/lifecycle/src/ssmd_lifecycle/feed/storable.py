"""What of a frame PostgreSQL can hold, so that its row keeps the rest of it. Pure.

jsonb refuses NUL and half surrogate pairs, and readers of what is stored give up on depth. A field
that has one of them, or that is foreign JSON of great size, is kept as the escaped beginning of its
own JSON text, as {"unreadable": "…"}: read again, it is as unreadable as it was.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from ssmd_kalshi.unread import (
    KEPT_CHARACTERS,
    MAX_JSON_BYTES,
    MAX_JSON_DEPTH,
    cut,
    json_fault,
    json_text,
    printable,
    text_fault,
)

_MARK: Final = "unreadable"

_suspicious: Final = re.compile(
    # NUL and surrogates; numbers beyond 64 bits, written out or with an exponent.
    rb"\\u(?:0000|[dD][89a-fA-F])|[0-9]{19}|[0-9][eE]\+?[0-9]{2}"
).search


def is_suspicious(raw: bytes) -> bool:
    """Whether a frame, which is valid JSON, may hold what is not to be stored as it is."""
    return (
        len(raw) > MAX_JSON_BYTES
        or raw.count(b"{") + raw.count(b"[") > MAX_JSON_DEPTH
        or _suspicious(raw) is not None
        or not _is_utf8(raw)
    )


def storable(document: Mapping[str, Any]) -> dict[str, Any]:
    """A frame with each field as it can be stored; of `msg` and its metadata each field alone."""
    return _fields(document, ("msg", "additional_metadata"))


def _fields(document: Mapping[str, Any], inner: tuple[str, ...]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if inner and name == inner[0] and isinstance(value, dict):
            kept[name] = _fields(value, inner[1:])
        else:
            kept[printable(name)] = value if _is_storable(value) else marked(value)
    return kept


def _is_storable(value: Any) -> bool:
    # A text may be long.
    return (text_fault(value) if isinstance(value, str) else json_fault(value)) is None


def marked(value: Any) -> dict[str, str]:
    """What stands for a value that is not stored."""
    return {_MARK: cut(json_text(value), KEPT_CHARACTERS)}


def is_marked(value: Any) -> bool:
    """Whether the value is what stands for an unreadable one."""
    return isinstance(value, dict) and value.keys() == {_MARK}


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
