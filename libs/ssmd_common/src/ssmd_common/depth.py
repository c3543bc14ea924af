"""How deep JSON is nested, and what of it is not, without ever descending into it. Pure.

Parsers descend, ours and those of our readers, and each has its limit; Python's depends on how deep
the program itself is. So what is given to readers has a limit of ours.
"""

import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def is_deep(text: bytes, deepest: int) -> bool:
    """Whether arrays and objects are nested more than `deepest` deep."""
    if text.count(b"[") + text.count(b"{") <= deepest:
        return False
    return any(depth > deepest for depth, _ in _nesting(text))


def shallow(text: bytes) -> bytes:
    """An object whose members that are arrays or objects are null."""
    parts: list[bytes] = []
    written = 0
    before = 0
    for depth, at in _nesting(text):
        if (before, depth) == (1, 2):
            parts += (text[written:at], b"null")
        elif (before, depth) == (2, 1):
            written = at + 1
        before = depth
    parts.append(text[written:])
    return b"".join(parts)


def _nesting(text: bytes) -> Iterator[tuple[int, int]]:
    """After each bracket: how many are open, and where it stands."""
    depth = 0
    for match in _TOKEN.finditer(text):
        bracket = match[0]
        if bracket in b"[{":
            depth += 1
        elif bracket in b"]}":
            depth -= 1
        else:
            continue
        yield depth, match.start()
