"""Rows as a table of text, no wider than a terminal.

Drawn here, since to import rich takes as long as all else of a read verb.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

GAP: Final = 2
_LEAST_PROSE: Final = 12
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class Column(NamedTuple):
    """`prose` may be cut where it does not fit; all else is there to be copied, and stays whole."""

    name: str
    title: str
    cells: list[str]
    is_number: bool = False
    is_prose: bool = False

    @property
    def width(self) -> int:
        """Of its widest cell."""
        return max(map(cells_of, [self.title, *self.cells]))


class Drawn(NamedTuple):
    """The lines of a table, without line ends, and the names of the columns that do not fit."""

    lines: list[str]
    left_out: list[str]


def draw(columns: Sequence[Column], width: int | None, *, bold: bool = False) -> Drawn:
    """A table at most `width` cells wide, None for as wide as it is.

    The first columns matter most: where not all fit, the last are left out. The first one is always
    there, whole.
    """
    shown, widths = _fitting(columns, width)
    if not shown:
        return Drawn([], [])
    head = _line([column.title for column in shown], shown, widths)
    lines = [f"{_BOLD}{head}{_PLAIN}" if bold else head]
    lines += [
        _line(list(row), shown, widths)
        for row in zip(*(column.cells for column in shown), strict=True)
    ]
    return Drawn(lines, [column.name for column in columns if column not in shown])


def _fitting(columns: Sequence[Column], width: int | None) -> tuple[list[Column], list[int]]:
    whole = [column.width for column in columns]
    if width is None or sum(whole) + GAP * (len(whole) - 1) <= width:
        return list(columns), whole
    shown: list[Column] = []
    used = -GAP
    for column, wide in zip(columns, whole, strict=True):
        least = min(wide, _LEAST_PROSE) if column.is_prose else wide
        if shown and used + GAP + least > width:
            continue
        shown.append(column)
        used += GAP + least
    widths = [min(c.width, _LEAST_PROSE) if c.is_prose else c.width for c in shown]
    left = width - used
    for at, column in enumerate(shown):
        more = min(max(left, 0), column.width - widths[at])
        widths[at] += more
        left -= more
    return shown, widths


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    parts = []
    for text, column, width in zip(cells, columns, widths, strict=True):
        cut = shorten(text, width)
        space = " " * (width - cells_of(cut))
        parts.append(space + cut if column.is_number else cut + space)
    return (" " * GAP).join(parts).rstrip()


def shorten(text: str, width: int) -> str:
    """The text in so many cells at most, ending with … where some of it is missing."""
    if cells_of(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += cells_of(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def cells_of(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """The value under `column` (`a.b` is b of what is under a), None where a part is missing."""
    if column in row:
        return row[column]
    found: Any = row
    for part in column.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
