"""Rows as a table of text, no wider than a terminal.

Drawn here, since to import rich takes as long as all else of a read verb.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

GAP: Final = 2
_LEAST_PROSE: Final = 12
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class Column(NamedTuple):
    """`prose` may be cut where it does not fit, and what `wraps` goes on below itself; all else is
    there to be copied, and stays whole in its line."""

    name: str
    title: str
    cells: list[str]
    is_number: bool = False
    is_prose: bool = False
    wraps: bool = False

    @property
    def least(self) -> int:
        """How narrow it may be."""
        return min(self.width, _LEAST_PROSE) if self.is_prose or self.wraps else self.width

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
    for row in zip(*(column.cells for column in shown), strict=True):
        parts = [
            wrapped(text, wide) if column.wraps else [text]
            for text, column, wide in zip(row, shown, widths, strict=True)
        ]
        lines += [_line(each, shown, widths) for each in zip_longest(*parts, fillvalue="")]
    return Drawn(lines, [column.name for column in columns if column not in shown])


def _fitting(columns: Sequence[Column], width: int | None) -> tuple[list[Column], list[int]]:
    whole = [column.width for column in columns]
    if width is None or sum(whole) + GAP * (len(whole) - 1) <= width:
        return list(columns), whole
    shown: list[Column] = []
    used = -GAP
    for column in columns:
        if shown and used + GAP + column.least > width:
            continue
        shown.append(column)
        used += GAP + column.least
    widths = [column.least for column in shown]
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


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of so many cells at most, with all that it has; between words if it can."""
    lines = [""]
    for word in text.split(" "):
        for at, piece in enumerate(_pieces(word, width)):
            longer = f"{lines[-1]} {piece}" if lines[-1] else piece
            if at == 0 and cells_of(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _pieces(word: str, width: int) -> Iterator[str]:
    start, used = 0, 0
    for at, character in enumerate(word):
        wide = cells_of(character)
        if used + wide > width and at > start:
            yield word[start:at]
            start, used = at, 0
        used += wide
    yield word[start:]


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
