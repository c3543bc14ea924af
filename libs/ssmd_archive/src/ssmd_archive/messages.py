"""The messages of an archive in the stream's order. Memory is that of a gzip member per table."""

import heapq
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ssmd_archive import lines
from ssmd_archive.away import here
from ssmd_archive.catalog import Archive
from ssmd_archive.errors import ArchiveDamaged, UnreadableLine
from ssmd_archive.layout import repair_of
from ssmd_archive.lines import Line
from ssmd_archive.manifest import Segment
from ssmd_archive.members import members


class Archived(NamedTuple):
    """A message where it stands: `text` is its line, without its end."""

    day: str
    chain: int
    reached_ns: int
    """When the stream reached it, nanoseconds since 1970. Never before its window's start, so that
    it is in no earlier window than what came before it, where the server's clock went back."""
    folder: str
    line: Line
    text: bytes

    @property
    def place(self) -> tuple[int, int]:
        return self.chain, self.line.sequence


def _advice(path: Path) -> str:
    return f"{repair_of(path)} mends it from the stream, as far as that holds it"


def file_lines(path: Path) -> Iterator[bytes]:
    """The lines of a sealed file, without their ends.

    Raises:
        ArchiveDamaged: it is not there, or not whole.
        InBucket: it is in the bucket only.
        BucketRefused, BucketUnreachable: it cannot be brought from there.
    """
    try:
        with here(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            end = 0
            for member in members(file):
                end = member.end
                if member.raw:
                    yield from member.raw.removesuffix(b"\n").split(b"\n")
    except FileNotFoundError as error:
        raise ArchiveDamaged(f"{path} is not there: {_advice(path)}") from error
    if end != size:
        raise ArchiveDamaged(f"{path} is not whole after byte {end} of {size}: {_advice(path)}")


def segment_messages(
    archive: Archive, day: str, segment: Segment, wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[Archived]:
    """The messages of a segment, of the folders that are `wanted`, ascending.

    Raises:
        ArchiveDamaged: a file of these is not what the manifest says.
    """
    start_ns = lines.nanoseconds(segment.window)

    def of(folder: str, path: Path) -> Generator[Archived, None, None]:
        for text in file_lines(path):
            try:
                line = lines.decode(text)
            except UnreadableLine as error:
                raise ArchiveDamaged(f"{path} cannot be read ({error}): {_advice(path)}") from error
            reached = max(line.stored_at_ns, start_ns)
            yield Archived(day, segment.chain, reached, folder, line, text)

    with ExitStack() as opened:
        sources: list[Iterable[Archived]] = []
        for file in segment.files:
            if wanted(file.table):
                source = of(file.table, archive.stream / day / file.path)
                opened.callback(source.close)
                sources.append(source)
        yield from heapq.merge(*sources, key=lambda found: found.line.sequence)
