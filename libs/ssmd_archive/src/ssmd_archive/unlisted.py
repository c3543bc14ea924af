"""What stands in a stream's directory without a line of a manifest: a writer's work, or no part of
the archive.
"""

from collections.abc import Iterator
from pathlib import Path

from ssmd_archive import lines
from ssmd_archive.catalog import Archive
from ssmd_archive.errors import ArchiveDamaged, UnreadableLine
from ssmd_archive.layout import MANIFEST, FileName, is_day, parse_path
from ssmd_archive.manifest import Line, Segment, State
from ssmd_archive.members import members


def unlisted(archive: Archive, listed: set[str]) -> Iterator[tuple[str, str, str]]:
    """Each its path in the stream's directory, `unfinished` or `extra`, and words; what is being
    written is left out.

    `listed` are the paths that manifests list, as they were when reading began: beside a writer
    files have been sealed since.
    """
    if not archive.stream.is_dir():
        return
    there = sorted(path for path in archive.stream.rglob("*") if not path.is_dir())
    found = [(path, path.relative_to(archive.stream).as_posix()) for path in there]
    more = [(path, name) for path, name in found if name not in listed]
    if not more:
        return
    newest, listed_since = _newest(archive)
    for path, name in more:
        day, _, rest = name.partition("/")
        if name in listed_since or (rest == MANIFEST and is_day(day)):
            continue
        if day.startswith(".removed-"):
            yield name, "unfinished", "it is of a day that is being removed"
            continue
        said = _said(path, day, parse_path(day, rest), newest)
        if said is not None and path.exists():
            yield name, *said


def _newest(archive: Archive) -> tuple[tuple[str, Line] | None, set[str]]:
    """The last line that can be read, with its day, and what is listed now."""
    newest: tuple[str, Line] | None = None
    listed: set[str] = set()
    for day in archive.days():
        for text in archive.texts(day)[0]:
            if text.line is None:
                continue
            newest = day, text.line
            if isinstance(text.line, Segment | State):
                listed.update(f"{day}/{file.path}" for file in text.line.files)
    return newest, listed


def _said(
    path: Path, day: str, name: FileName | None, newest: tuple[str, Line] | None
) -> tuple[str, str] | None:
    if name is None:
        return "extra", "it is no file of an archive"
    if newest is None:
        return "extra", "no line of a manifest comes before it"
    last_day, line = newest
    not_listed = f"no line of {day}/{MANIFEST} lists it"
    wrong: str | None = None
    if day < last_day or name.chain != line.chain:
        wrong = "nothing is written there any more"
    elif not name.is_state and name.sequence != line.next_sequence:
        wrong = f"{line.next_sequence} is what is written next"
    elif not name.is_state:
        wrong = _wrong(path, name)
    if wrong is not None:
        return "extra", f"{not_listed}, and {wrong}"
    return None if name.part else ("unfinished", f"{not_listed} yet")


def _wrong(path: Path, name: FileName) -> str | None:
    """Why it is not the file of a segment that is being written; its first member tells."""
    try:
        with path.open("rb") as file:
            first = next(members(file), None)
        if first is None:
            return None if name.part else "it cannot be read"
        found = lines.decode(first.raw.partition(b"\n")[0])
    except (UnreadableLine, ArchiveDamaged) as error:
        return str(error)
    except FileNotFoundError:
        return None
    if found.sequence < name.sequence:
        return f"it begins with sequence {found.sequence}"
    return None
