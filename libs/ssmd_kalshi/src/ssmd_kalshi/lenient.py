"""JSON that the usual reader refuses, read as far as it goes. Pure.

One number out of range, one lone surrogate, one byte that is not UTF-8 or one value nested too
deeply spoils itself, not the frame or the page around it. What comes out may hold what PostgreSQL
does not take: lone surrogates, NUL, NaN and infinities; who stores it looks for them
(`ssmd_kalshi.unread`).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Self

KEPT_DEPTH = 64
"""Deeper values are read as null: twice what is stored, so that they are still found too deep."""

_MAX_DIGITS = 400
"""Python refuses to read integers from 4,300 digits on, and a column ends long before."""

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[][{}]', re.DOTALL)


class NoNumber(float):
    """What no Python number is (`NaN`, 1e400, 5,000 digits): NaN or an infinity, and its text."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        # float() reads any number of digits, as infinity where they are too many.
        number = super().__new__(cls, text)
        number.text = text
        return number


def loads(raw: bytes) -> Any:
    """ValueError where it is not JSON at all. Bytes that are not UTF-8 become lone surrogates."""
    text = raw.decode("utf-8", "surrogateescape")
    return _decoder.decode(_pruned(text))


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else NoNumber(digits)


def _real(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else NoNumber(text)


_decoder = json.JSONDecoder(
    strict=False, parse_int=_integer, parse_float=_real, parse_constant=NoNumber
)


def _pruned(text: str) -> str:
    """The text with null for what is nested too deeply, whatever the readers' own limits are."""
    parts: list[str] = []
    depth = start = 0
    for token in _TOKENS.finditer(text):
        sign = token[0]
        if sign in "[{":
            depth += 1
            if depth == KEPT_DEPTH + 1:
                parts += text[start : token.start()], "null"
        elif sign in "]}":
            if depth == KEPT_DEPTH + 1:
                start = token.end()
            depth -= 1
    if not parts:
        return text
    if depth > KEPT_DEPTH:
        raise ValueError("it ends in the middle")
    return "".join([*parts, text[start:]])
