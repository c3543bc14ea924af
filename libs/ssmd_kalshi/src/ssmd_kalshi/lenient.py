"""JSON that a strict parser gives up on, as a whole, for the sake of one value in it. Pure.

Unpaired surrogates, bytes that are not UTF-8 (they become such surrogates), control characters in
texts, numbers that are none, and nesting without end spoil a field, not a reply: here they are
parsed into values that the field's check then rejects (`ssmd_kalshi.unread`).
"""

from __future__ import annotations

import json
import re
from typing import Final

from ssmd_kalshi.unread import NoNumber

MAX_DIGITS: Final = 400
"""Of a whole number: beyond any float, and short of what Python takes long for."""

MAX_DEPTH: Final = 100
"""Far above what a stored value may have below its row, far below any parser's limit. What is cut
out below it leaves its field deep enough to be rejected for its depth."""

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


def parse(body: bytes) -> object:
    """ValueError where it is no JSON for all that, RecursionError where it ends in its nesting."""
    text = body.decode("utf-8", "surrogateescape")
    try:
        return _decoder.decode(text)
    except RecursionError:
        return _decoder.decode(shallow(text))


def _whole(text: str) -> int | NoNumber:
    return int(text) if len(text) <= MAX_DIGITS else NoNumber(text)


def _real(text: str) -> float | NoNumber:
    number = float(text)
    return number if abs(number) < float("inf") else NoNumber(text)


_decoder = json.JSONDecoder(
    strict=False, parse_int=_whole, parse_float=_real, parse_constant=NoNumber
)


def shallow(text: str) -> str:
    """The text with `"…"` in place of every list or object that is more than `MAX_DEPTH` deep."""
    depth, start, done = 0, 0, 0
    parts: list[str] = []
    for token in _TOKENS.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth == MAX_DEPTH + 1:
                    start = token.start()
            case "]" | "}":
                if depth == MAX_DEPTH + 1:
                    parts += [text[done:start], '"…"']
                    done = token.end()
                depth -= 1
    parts.append(text[done:])
    return "".join(parts)
