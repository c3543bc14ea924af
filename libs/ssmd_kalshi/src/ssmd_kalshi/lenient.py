"""JSON that the usual reader refuses, read as far as it goes. Pure.

One number out of range, one lone surrogate, one byte that is not UTF-8 or one value nested too
deeply spoils itself, not the frame around it. What comes out may hold what PostgreSQL does not
take: lone surrogates, NUL, NaN and infinities; who stores it looks for them.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

KEPT_DEPTH = 64
"""Deeper values are read as null: twice what is stored, so that they are still found too deep."""

_MAX_DIGITS = 400
"""Python refuses to read integers from 4,300 digits on, and a column ends long before."""

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"|[][{}]', re.DOTALL)


def loads(raw: bytes) -> Any:
    """ValueError where it is not JSON at all. Bytes that are not UTF-8 become lone surrogates."""
    text = raw.decode("utf-8", "surrogateescape")
    return json.loads(_pruned(text), strict=False, parse_int=_integer)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


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
