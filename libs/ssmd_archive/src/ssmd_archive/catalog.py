"""An archive from the reader's end: its days, and the lines of their manifests. Nothing is changed.

Beside a writer it shows what was sealed when it was looked at.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ssmd_archive import manifest
from ssmd_archive.errors import ArchiveDamaged, NoArchive, UnreadableLine
from ssmd_archive.layout import LOCK, MANIFEST, SECMASTER_CDC, Layout, is_day, layout_of, repair_of
from ssmd_archive.manifest import Line


class Listed(NamedTuple):
    """A line, and the day that its files are in."""

    day: str
    line: Line


class Text(NamedTuple):
    """A line as it stands in a manifest: `number` counts from 1, `line` is None if it cannot be
    read, and `why` says so.
    """

    day: str
    number: int
    text: bytes
    line: Line | None
    why: str = ""


class Archive:
    """One stream of an archive.

    Raises:
        NoArchive: there is nothing of the kind.
    """

    def __init__(self, root: Path, layout: Layout = SECMASTER_CDC) -> None:
        self.root = root
        self.layout = layout
        self.stream = root / layout.stream
        if not root.is_dir():
            raise NoArchive(f"{root} is no directory: name the one that the archiver writes to")
        if not (root / LOCK).exists() and not any(layout_of(path.name) for path in root.iterdir()):
            raise NoArchive(
                f"{root} is no archive, it has no {layout.stream}: name the directory that the "
                "archiver writes to (its ARCHIVER_ROOT)"
            )

    def days(self) -> list[str]:
        """Days that have a manifest, the oldest first."""
        if not self.stream.is_dir():
            return []
        return sorted(
            entry.name
            for entry in self.stream.iterdir()
            if is_day(entry.name) and (entry / MANIFEST).is_file()
        )

    def texts(self, day: str) -> tuple[list[Text], bytes]:
        """A day's lines that have an end, readable or not, and what stands after them."""
        content = (self.stream / day / MANIFEST).read_bytes()
        *whole, rest = content.split(b"\n")
        found = []
        for number, text in enumerate(whole, 1):
            try:
                found.append(Text(day, number, text, manifest.decode(text)))
            except UnreadableLine as error:
                found.append(Text(day, number, text, None, str(error)))
        return found, rest

    def readable(self) -> list[Listed]:
        """All lines that can be read: what is wrong with the others, `verify` finds."""
        return [
            Listed(day, text.line)
            for day in self.days()
            for text in self.texts(day)[0]
            if text.line is not None
        ]

    def lines(self) -> Iterator[Listed]:
        """All lines in their order, but for a last one that is torn or being written.

        Raises:
            ArchiveDamaged: one cannot be read.
        """
        days = self.days()
        for day in days:
            texts, rest = self.texts(day)
            for text in texts:
                if text.line is not None:
                    yield Listed(day, text.line)
                elif day != days[-1] or text is not texts[-1] or rest:
                    raise ArchiveDamaged(
                        f"line {text.number} of {self.stream / day / MANIFEST} cannot be read "
                        f"({text.why}): `ssmd archive verify` says what else is wrong, "
                        f"{repair_of(self.stream)} mends it"
                    )
