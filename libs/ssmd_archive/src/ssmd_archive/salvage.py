"""What can still be read of a file that is damaged: a gzip member stands by itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from ssmd_archive import lines
from ssmd_archive.errors import UnreadableLine
from ssmd_archive.layout import OTHER
from ssmd_archive.members import compress, members

_HEADER: Final = compress(b"")[:10]
"""What each member begins with."""
_CHUNK_BYTES: Final = 1 << 20


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
        with path.open("rb") as file:
            start = 0
            while start >= 0:
                end = start
                for member in members(file, start):
                    end = member.end
                    yield member.raw
                start = _find(file, max(end, start + 1))
    except OSError:
        # Not there, or what follows is on a part of the disk that cannot be read.
        return


def _find(file: BinaryIO, start: int) -> int:
    """Where something that looks like a member begins; -1 where nothing does."""
    file.seek(start)
    before = b""
    while chunk := file.read(_CHUNK_BYTES):
        if (place := (before + chunk).find(_HEADER)) >= 0:
            return start - len(before) + place
        start += len(chunk)
        before = (before + chunk)[1 - len(_HEADER) :]
    return -1


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
        kind = lines.kind_of(folder, line.payload)
    return Piece(line.sequence, folder, line.stored_at_ns, kind, text + b"\n")
