"""What can still be read of a file that is damaged: a gzip member stands by itself."""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ssmd_archive import lines
from ssmd_archive.errors import UnreadableLine
from ssmd_archive.layout import OTHER
from ssmd_archive.members import compress, members

_HEADER: Final = compress(b"")[:10]
"""What each member begins with."""


class Piece(NamedTuple):
    """A message as it is written into a file; `line` has its end."""

    sequence: int
    folder: str
    stored_at_ns: int
    kind: str
    line: bytes


def pieces(path: Path, folder: str) -> Iterator[Piece]:
    """The messages of all whole members, ascending; what is no line of that folder is left out.

    A file that is not there has none.
    """
    reached = 0
    for raw in _members(path):
        for text in raw.split(b"\n"):
            piece = _piece(text, folder)
            if piece is not None and piece.sequence > reached:
                reached = piece.sequence
                yield piece


def _members(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return
    with file:
        if not path.stat().st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = 0
            while start >= 0:
                end = start
                for member in members(file, start):
                    end = member.end
                    yield member.raw
                start = content.find(_HEADER, max(end, start + 1))


def _piece(text: bytes, folder: str) -> Piece | None:
    try:
        line = lines.decode(text)
    except UnreadableLine:
        return None
    if folder == OTHER:
        if line.subject is None:
            return None
        kind = lines.UNTYPED
    elif line.subject is not None or not lines.can_be_carried(line.payload):
        return None
    else:
        kind = lines.type_of(line.payload)
    return Piece(line.sequence, folder, line.stored_at_ns, kind, text + b"\n")
