"""JSON that the usual reader refuses, read as far as it goes. Pure.

Unpaired surrogates, bytes that are not UTF-8 (they become such surrogates), control characters,
numbers that are none and endless nesting spoil themselves, not the text around them. Who stores
what comes out looks for them (`ssmd_kalshi.unread`).
"""

from __future__ import annotations

import json
from typing import Any, Final

from ssmd_kalshi.shallow import shallow
from ssmd_kalshi.unread import NoNumber

MAX_DIGITS: Final = 400
"""Of a whole number in JSON: beyond any float, and short of what Python takes long for."""


def loads(body: bytes) -> Any:
    """ValueError, or RecursionError, where it is not complete JSON.

    What is nested too deeply is cut out first, at the same depth whatever the parser's own limit
    is: what comes out can be walked through, and is the same on every version of Python.
    """
    return _LENIENT.decode(shallow(body.decode("utf-8", "surrogateescape")))


def _whole_number(text: str) -> int | NoNumber:
    return int(text) if len(text) <= MAX_DIGITS else NoNumber(text)


def _real_number(text: str) -> float | NoNumber:
    number = float(text)
    return number if abs(number) < float("inf") else NoNumber(text)


_LENIENT: Final = json.JSONDecoder(
    strict=False,
    parse_int=_whole_number,
    parse_float=_real_number,
    parse_constant=NoNumber,
)
