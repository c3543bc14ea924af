"""JSON text whose nesting has no end → JSON text that a parser can take. Pure.

A parser that recurses gives up on the whole text for the sake of one value. What is deeper than
anything that could be read is cut out before: what remains there is still deep enough to be
rejected, with its field, for its depth.
"""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 100
"""Far above what a stored value may have below its row, far below any parser's limit."""

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def shallow(text: str) -> str:
    """The text with `"…"` in place of every list or object that is more than `MAX_DEPTH` deep."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return text
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
