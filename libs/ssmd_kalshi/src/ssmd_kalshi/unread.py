"""What of a row cannot be read, and what is kept of it. Pure.

A field is read or rejected, alone: the other fields of its row do not suffer. These are the checks
of a value's type and form; what a text or number means is in `ssmd_kalshi.values`. The same value
is always kept as the same value, so that a row with it is equal to itself when it comes again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ssmd_common.models import RejectedField
from ssmd_kalshi.errors import BadFieldError, excerpt

MAX_JSON_DEPTH: Final = 32
"""Objects and lists inside one another, of any value that is stored as JSON."""
MAX_JSON_BYTES: Final = 16_384
"""Encoded. The longest in recordings, a multivariate market's legs, has 1,105."""
MAX_TICKER_CHARACTERS: Final = 128
KEPT_CHARACTERS: Final = 2000
"""Of a value that is not kept as JSON."""
RAW_CHARACTERS: Final = 200

_NUMBER_LIMIT: Final = 2**63
"""jsonb writes 1e300 out, and readers of JSON take whole numbers of 64 bits."""

_CUT: Final = "…"


class NoNumber:
    """A JSON number that no Python number is (`NaN`, 1e400, 5,000 digits); its text is shown."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class Unread:
    """A field that was rejected: `kept` is its value where that can be stored as JSON, else its
    JSON text, escaped and cut.

    No type that msgspec decodes by itself: nothing on the wire can be taken for one.
    """

    __slots__ = ("kept", "name", "raw", "why")

    def __init__(self, name: str, why: str, value: object) -> None:
        self.name = name
        self.why = why
        text = json_text(value)
        self.raw = cut(text, RAW_CHARACTERS)
        self.kept: Any = value if json_fault(value) is None else cut(text, KEPT_CHARACTERS)

    @property
    def reason(self) -> str:
        return f"{printable(self.name)} is {excerpt(self.raw, 80)}: {self.why}"

    def field(self, columns: tuple[str, ...]) -> RejectedField:
        """`columns` are those that get no value because of it."""
        name = printable(self.name)
        return RejectedField(field=name, columns=columns, reason=self.reason, raw=self.raw)


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + _CUT


def json_text(value: object) -> str:
    """The value as JSON in ASCII, whatever is in it; what is nested too deeply is left out."""
    return json.dumps(_shallow(value, MAX_JSON_DEPTH + 1), ensure_ascii=True)


def printable(name: str) -> str:
    """A field's name, as it is where it can be stored, else escaped; of bounded length."""
    plain = text_fault(name) is None and len(name) <= MAX_TICKER_CHARACTERS
    return name if plain else cut(json_text(name)[1:-1], MAX_TICKER_CHARACTERS)


def _shallow(value: object, levels: int) -> object:
    if isinstance(value, dict):
        if not levels:
            return _CUT
        return {str(key): _shallow(inner, levels - 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shallow(inner, levels - 1) for inner in value] if levels else _CUT
    if isinstance(value, str | int | float | None):
        return value
    return value.text if isinstance(value, NoNumber) else repr(value)


def mended(value: object) -> object:
    """Parsed JSON without the text that no text may have; for replies that are not rows."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "")
    if isinstance(value, dict):
        return {mended(key): mended(inner) for key, inner in value.items()}
    return [mended(inner) for inner in value] if isinstance(value, list) else value


# --- what is wrong with a value: a clause for a sentence, or None ---------------------------------


def text_fault(value: object) -> str | None:
    if not isinstance(value, str):
        return "it is not a text"
    if "\0" in value:
        return "it has a NUL, which no text may have"
    # Fails for unpaired surrogates alone, and faster than looking for them.
    try:
        value.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return None


def number_fault(value: object) -> str | None:
    if isinstance(value, str):
        return text_fault(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "it is not a number"
    if isinstance(value, float) and not math.isfinite(value):
        return "it is not a number"
    return None if -_NUMBER_LIMIT <= value < _NUMBER_LIMIT else "it is beyond 64 bits"


def flag_fault(value: object) -> str | None:
    return None if isinstance(value, bool) else "it is neither true nor false"


def json_fault(value: object) -> str | None:
    """Why a value cannot be stored as JSON."""
    level: list[object] = [value]
    for depth in range(MAX_JSON_DEPTH + 1):
        inside: list[object] = []
        for one in level:
            if isinstance(one, dict):
                if depth == MAX_JSON_DEPTH:
                    return f"it is nested more than {MAX_JSON_DEPTH} deep"
                inside += one
                inside += one.values()
            elif isinstance(one, list):
                if depth == MAX_JSON_DEPTH:
                    return f"it is nested more than {MAX_JSON_DEPTH} deep"
                inside += one
            elif isinstance(one, str):
                if fault := text_fault(one):
                    return fault
            elif not isinstance(one, bool | None) and (fault := number_fault(one)):
                return fault
        level = inside
    if len(msgspec.json.encode(value)) > MAX_JSON_BYTES:
        return f"it has more than {MAX_JSON_BYTES} bytes"
    return None


def object_fault(value: object) -> str | None:
    return json_fault(value) if isinstance(value, dict) else "it is not an object"


def objects_fault(value: object) -> str | None:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return "it is not a list of objects"
    return json_fault(value)


def texts_fault(value: object) -> str | None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return "it is not a list of texts"
    return json_fault(value)


def ticker_fault(value: object) -> str | None:
    """A ticker has 1 to 128 printable characters and no space; a colon is one of them."""
    if not isinstance(value, str):
        return "it is not a text"
    if not value or len(value) > MAX_TICKER_CHARACTERS or not value.isprintable() or " " in value:
        return "it is not a ticker"
    return None


def check_ticker(name: str, value: object) -> None:
    """BadFieldError where a row has no readable identity."""
    if fault := ticker_fault(value):
        raise BadFieldError(name, value, fault)


Check = Callable[[object], str | None]
