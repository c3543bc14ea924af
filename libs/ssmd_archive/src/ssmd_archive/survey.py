"""What there is of an archive, whatever was done to it: files, their hashes, and readable lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ssmd_archive import manifest
from ssmd_archive.catalog import Archive, Listed
from ssmd_archive.hashing import hash_file, mapping
from ssmd_archive.layout import FileName, Window, is_day, parse_path
from ssmd_archive.lines import nanoseconds
from ssmd_archive.manifest import Chain, Line, Segment, State


class Group(NamedTuple):
    """Files of one name in several folders, which no line lists: a segment whose line is gone, or
    that is being written. `folders` are the paths in the day by folder.
    """

    day: str
    name: FileName
    folders: dict[str, str]


class Survey:
    """A look at everything. `hashes` are of all files by their path in the stream's directory."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.texts = {day: archive.texts(day) for day in archive.days()}
        self.hashes = self._hash()
        self.lines = _ordered(
            Listed(day, text.line)
            for day, (texts, _) in self.texts.items()
            for text in texts
            if text.line is not None
        )
        self.original = {
            id(text.line): text.text for texts, _ in self.texts.values() for text in texts
        }
        """A line's bytes, by its id."""
        self.head = next(
            (
                manifest.digest(text.text)
                for texts, _ in reversed(self.texts.values())
                for text in reversed(texts)
                if text.line is not None
            ),
            None,
        )
        """The SHA-256 of the newest line that can be read."""

    def _hash(self) -> dict[str, str]:
        paths = [path for path in self._archive.stream.rglob("*") if path.is_file()]
        with mapping(sum(path.stat().st_size for path in paths)) as each:
            return {
                path.relative_to(self._archive.stream).as_posix(): digest
                for path, digest in zip(paths, each(_hash_or_none, paths), strict=True)
            }

    def groups(self, listed: set[str]) -> list[Group]:
        """Files of messages that are not among the `listed` paths, by chain and sequence."""
        found: dict[tuple[int, int, str, Window], Group] = {}
        for path in sorted(self.hashes):
            day, _, rest = path.partition("/")
            name = parse_path(day, rest) if is_day(day) else None
            if name is None or name.is_state or path in listed:
                continue
            key = name.chain, name.sequence, day, name.window
            group = found.setdefault(key, Group(day, name, {}))
            # A sealed file sorts before one that is not.
            group.folders.setdefault(name.folder, rest)
        return [found[key] for key in sorted(found)]


def _hash_or_none(path: Path) -> str:
    """Of what cannot be read it is no hash."""
    try:
        return hash_file(path)[1]
    except OSError:
        return ""


def day_of(line: Line) -> str | None:
    """The day that a line must be in, where it says that itself."""
    if isinstance(line, Segment | State):
        return Window(nanoseconds(line.window) // 1_000_000_000).day
    return None


def _ordered(listed: Iterator[Listed]) -> list[Listed]:
    """Each once, in the order of the stream, in the day that it belongs to."""
    unique: dict[bytes, Listed] = {}
    for listing in listed:
        unique.setdefault(manifest.encode(listing.line), listing)
    found = sorted(unique.values(), key=_place)
    days = [day_of(listing.line) for listing in found]
    placed: list[Listed] = []
    last = ""
    for number, (day, line) in enumerate(found):
        following = next((said for said in days[number:] if said is not None), None)
        last = max(last, min(day, following) if following else day)
        placed.append(Listed(days[number] or last, line))
    return placed


def _place(listing: Listed) -> tuple[int, int, int, bool, str]:
    line = listing.line
    window = line.window if isinstance(line, Segment | State) else ""
    return line.chain, line.from_seq, line.to_seq, not isinstance(line, Chain), window
