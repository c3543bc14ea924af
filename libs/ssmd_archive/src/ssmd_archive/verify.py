"""Whether an archive is what its archiver wrote (docs/archive.md § Verifying)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from ssmd_archive import manifest
from ssmd_archive.catalog import Archive, Text
from ssmd_archive.consistency import contradictions
from ssmd_archive.contents import Contents, segment_contents, state_contents
from ssmd_archive.hashing import hash_file, mapping
from ssmd_archive.layout import MANIFEST
from ssmd_archive.manifest import Chain, File, Line, Removed, Repaired, Segment, State, StateFile
from ssmd_archive.unlisted import unlisted
from ssmd_archive.uploaded import is_away

_NOT_NEXT: Final = "a line is missing, changed, or in another place"


class Finding(msgspec.Struct, frozen=True, order=True):
    """Something that is wrong; `path` is of the stream's directory.

    `kind` is `missing`, `changed`, `swapped`, `extra` or `unreadable` of a file, `unreadable`,
    `order` or `contradiction` of a manifest's `line`, `head` of the whole.
    """

    path: str
    line: int | None
    kind: str
    what: str


class Report(msgspec.Struct):
    """`head` is the SHA-256 of the newest line: it vouches for all lines before it.

    What is `unfinished` is no fault: a writer finishes it, now or when it starts. Nor are files
    `in_bucket` one: they were deleted here when the bucket had them, and were not looked at.
    """

    days: int = 0
    lines: int = 0
    files: int = 0
    bytes: int = 0
    messages: int = 0
    lost: int = 0
    in_bucket: int = 0
    head: str | None = None
    findings: list[Finding] = []
    unfinished: list[Finding] = []


class _Job(msgspec.Struct, frozen=True):
    """A file that a line lists."""

    day: str
    number: int
    file: File | StateFile

    @property
    def path(self) -> str:
        return f"{self.day}/{self.file.path}"


def verify(
    archive: Archive,
    *,
    deep: bool = False,
    head: str | None = None,
    day: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
    hash_of: Callable[[Path], tuple[int, str]] | None = None,
) -> Report:
    """Compare everything with everything else, and files with their hashes; memory is bounded by
    the manifests. `deep` reads each message, too. `head` is one that an earlier report had. With a
    `day` only its files are looked at, and all lines.

    `progress` is told how many bytes were read since it was told last. `hash_of` gives the size and
    SHA-256 of files that are elsewhere (FileNotFoundError: nowhere), by where they would be.

    Raises:
        OSError: the archive cannot be read.
    """
    check = _Check(archive, deep=deep, day=day, progress=progress, hash_of=hash_of)
    check.run(head)
    return check.report


class _Check:
    def __init__(
        self,
        archive: Archive,
        *,
        deep: bool,
        day: str | None,
        progress: Callable[[int], None],
        hash_of: Callable[[Path], tuple[int, str]] | None,
    ) -> None:
        self._archive = archive
        self._is_elsewhere = hash_of is not None
        self._hash_of = hash_of or hash_file
        self._deep = deep
        self._day = day
        self._progress = progress
        self.report = Report(findings=[], unfinished=[])
        self._jobs: list[_Job] = []
        self._listed: list[tuple[Text, Line]] = []
        self._unread: set[str] = set()

    def run(self, head: str | None) -> None:
        days = self._archive.days()
        self.report.days = len(days)
        digests = self._lines(days)
        self._first_line()
        if head is not None and head not in digests:
            self._find("", None, "head", f"no line has the SHA-256 {head}: lines were changed")
        self._files()
        if self._deep:
            self._contents()
        if self._day is None:
            self._unlisted()
        # A writer's retention removes whole days meanwhile.
        gone = {day for day in days if not (self._archive.stream / day).is_dir()}
        self.report.findings = sorted(
            {found for found in self.report.findings if found.path.partition("/")[0] not in gone},
            key=lambda found: (found.path, found.line or 0, found.kind, found.what),
        )

    def _unlisted(self) -> None:
        for place, kind, what in unlisted(self._archive, {job.path for job in self._jobs}):
            found = Finding(place, None, kind, what)
            if kind == "unfinished":
                self.report.unfinished.append(found)
            else:
                self.report.findings.append(found)

    def _find(self, path: str, line: int | None, kind: str, what: str) -> None:
        self.report.findings.append(Finding(path, line, kind, what))

    def _lines(self, days: list[str]) -> set[str]:
        """The chain; the digests of its lines."""
        digests: set[str] = set()
        previous: str | None = None
        before: Line | None = None
        known = False
        last = "", 0
        for day in days:
            path = f"{day}/{MANIFEST}"
            texts, rest = self._archive.texts(day)
            for text in texts:
                self.report.lines += 1
                if text.line is None:
                    self._find(path, text.number, "unreadable", text.why)
                    before, known = None, False
                    continue
                if known and text.line.previous != previous:
                    what = f"it does not follow line {last[1]} of {last[0]}: {_NOT_NEXT}"
                    self._find(path, text.number, "order", what)
                for what in contradictions(day, text.line, before):
                    self._find(path, text.number, "contradiction", what)
                previous, before, known = manifest.digest(text.text), text.line, True
                last = path, text.number
                digests.add(previous)
                self._take(day, text, text.line)
            if rest:
                found = Finding(path, len(texts) + 1, "unfinished", "the last line has no end")
                if day == days[-1]:
                    self.report.unfinished.append(found)
                else:
                    self._find(path, found.line, "unreadable", found.what)
                    before, known = None, False
        self.report.head = previous
        return digests

    def _take(self, day: str, text: Text, line: Line) -> None:
        self._listed.append((text, line))
        if self._day not in (None, day):
            return
        match line:
            case Segment():
                self.report.messages += line.messages
                self.report.lost += manifest.missing(line)
            case manifest.HoleLine() | manifest.Expired():
                self.report.lost += line.to_seq + 1 - line.from_seq
            case _:
                pass
        if isinstance(line, Segment | State):
            self._jobs.extend(_Job(day, text.number, file) for file in line.files)

    def _first_line(self) -> None:
        """It has no line before it, or a `removed` line says which that was."""
        if not self._listed:
            return
        text, first = self._listed[0]
        path = f"{text.day}/{MANIFEST}"
        removed = [line.last_line for _, line in self._listed if isinstance(line, Removed)]
        known = {line.before for _, line in self._listed if isinstance(line, Repaired)}
        if first.previous is None:
            if not isinstance(first, Chain) or first.old is not None:
                self._find(path, text.number, "order", "it is the first line, and begins no chain")
        elif first.previous not in known | set(removed[-1:]):
            self._find(
                path,
                text.number,
                "order",
                "lines came before it that are not here, and no line says that they were removed",
            )

    def _files(self) -> None:
        by_hash = {job.file.sha256: job.path for job in self._jobs}
        seen: set[str] = set()
        with mapping(sum(job.file.bytes for job in self._jobs)) as each:
            for job, found in zip(self._jobs, each(self._hash, self._jobs), strict=True):
                manifest_path = f"{job.day}/{MANIFEST}"
                if job.path in seen:
                    self._find(manifest_path, job.number, "contradiction", f"{job.path} is twice")
                seen.add(job.path)
                if isinstance(found, OSError):
                    self._unread.add(job.path)
                    if self._is_away(job.day, self._archive.stream / job.path):
                        self.report.in_bucket += 1
                        continue
                    kind = "missing" if isinstance(found, FileNotFoundError) else "unreadable"
                    what = "it is not there" if kind == "missing" else str(found.strerror)
                    self._find(job.path, None, kind, what)
                    continue
                size, digest = found
                self.report.files += 1
                self.report.bytes += size
                self._progress(size)
                if (size, digest) == (job.file.bytes, job.file.sha256):
                    continue
                if digest in by_hash:
                    what = f"it has what {by_hash[digest]} should have"
                    self._find(job.path, None, "swapped", what)
                else:
                    self._find(job.path, None, "changed", self._what(job, size))

    def _is_away(self, day: str, path: Path) -> bool:
        """Whether it is in the bucket only, and nobody looks at it there."""
        root, stream = self._archive.root, self._archive.layout.stream
        return not self._is_elsewhere and not path.exists() and is_away(root, stream, day)

    def _hash(self, job: _Job) -> tuple[int, str] | OSError:
        try:
            return self._hash_of(self._archive.stream / job.path)
        except OSError as error:
            return error

    def _what(self, job: _Job, size: int) -> str:
        """In which way a file is another one, as near as it can be told."""
        if size < job.file.bytes:
            what = f"it is cut: {size} bytes of {job.file.bytes}"
        elif size > job.file.bytes:
            what = f"it has {size - job.file.bytes} bytes too many"
        else:
            what = "it has other bytes"
        if isinstance(job.file, File) and not self._is_elsewhere:
            contents = Contents(job.file.table)
            contents.read(self._archive.stream / job.path)
            if contents.wrong is not None:
                what += f"; {contents.wrong}"
            elif len(contents.sequences) != job.file.messages:
                what += f"; it has {len(contents.sequences)} lines of {job.file.messages}"
        return what

    def _contents(self) -> None:
        for text, line in self._listed:
            if self._day not in (None, text.day):
                continue
            day = self._archive.stream / text.day
            found: Iterator[tuple[str | None, str]]
            if any(self._is_away(text.day, day / file.path) for file in manifest.files_of(line)):
                continue
            match line:
                case Segment():
                    found = segment_contents(day, line)
                case State():
                    found = state_contents(day, line)
                case _:
                    continue
            for path, what in found:
                if path is None:
                    self._find(f"{text.day}/{MANIFEST}", text.number, "contradiction", what)
                elif f"{text.day}/{path}" not in self._unread:
                    self._find(f"{text.day}/{path}", None, "contents", what)
            self._progress(0)
