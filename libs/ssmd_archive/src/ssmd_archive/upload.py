"""Makes a bucket's copy of a stream's archive follow it (docs/archive.md § Buckets).

The bucket's manifest of a day is the offset, as the manifest here is that of the stream: a file is
uploaded, read back and compared with its SHA-256, and only then is a manifest uploaded that lists
it. Whatever ends it in between, what the manifest in the bucket does not list is looked at again.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from ssmd_archive import manifest, uploaded
from ssmd_archive.bucket import Bucket
from ssmd_archive.catalog import Archive, Text
from ssmd_archive.disk import Disk
from ssmd_archive.errors import ArchiveDamaged, ForeignArchive
from ssmd_archive.layout import MANIFEST, repair_of
from ssmd_archive.lines import nanoseconds
from ssmd_archive.manifest import File, Repaired, Segment, StateFile
from ssmd_archive.sending import send, send_text
from ssmd_archive.uploaded import Uploaded

log = structlog.get_logger(__name__)

ASIDE: Final = "aside"
_LINES_AT_ONCE: Final = 16
"""A manifest is uploaded after so many lines at the latest."""


class Backlog(NamedTuple):
    """What is sealed and not in the bucket yet; `oldest_ns` is when the stream stored the last
    message of the oldest segment of it, None where there is none."""

    files: int = 0
    bytes: int = 0
    oldest_ns: int | None = None


class Upload:
    """Of one stream. Its calls may go on beside the writer, and beside nothing of their kind."""

    def __init__(
        self,
        archive: Archive,
        bucket: Bucket,
        *,
        disk: Disk | None = None,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`told` is called with the bytes of each file that is in the bucket now."""
        self._archive = archive
        self._bucket = bucket
        self._disk = disk or Disk()
        self._told = told
        self._done: dict[str, tuple[int, str]] = {}
        """The lines of days that were uploaded, and the digest of the last one."""
        self._whole: dict[str, int] = {}
        """The manifests' sizes of days that need not be looked at again."""
        self._doubted: set[str] = set()
        """Days of which the bucket lacked something that its manifest lists."""
        self._pruned: set[str] = set()

    def backlog(self) -> Backlog:
        """How much is left to do, from files here alone."""
        files = size = 0
        oldest: int | None = None
        for day, texts in self._pending():
            for text in texts[self._known(day, texts) :]:
                if text.line is None:
                    continue
                for file in manifest.files_of(text.line):
                    files += 1
                    size += file.bytes
                if oldest is None and isinstance(text.line, Segment):
                    oldest = nanoseconds(text.line.last_time)
        return Backlog(files, size, oldest)

    async def work(self, days: int = 1) -> bool:
        """Upload what is not in the bucket of the oldest days that have some; whether there is more
        to do at once.

        Raises:
            BucketRefused, BucketUnreachable: the bucket takes it not, or not now.
            ForeignArchive: the bucket has another archive there.
            ArchiveDamaged: a file is not as it was sealed; days without one are uploaded.
        """
        damaged: ArchiveDamaged | None = None
        pending = await asyncio.to_thread(self._pending)
        for day, texts in pending:
            try:
                await self._day(day, texts)
                days -= 1
            except ArchiveDamaged as error:
                damaged = error
            if not days and day != pending[-1][0]:
                return True
        if damaged is not None:
            raise damaged
        return False

    def _pending(self) -> list[tuple[str, list[Text]]]:
        """Days that are not wholly in the bucket, as far as is known, with their lines."""
        found = []
        for day in self._archive.days():
            size = (self._archive.stream / day / MANIFEST).stat().st_size
            if self._whole.get(day) == size:
                continue
            texts, _ = self._archive.texts(day)
            if texts and texts[-1].line is None:
                # It is torn, and will be written again.
                texts.pop()
            if self._known(day, texts) < len(texts):
                found.append((day, texts))
            else:
                self._whole[day] = size
        return found

    def _known(self, day: str, texts: list[Text]) -> int:
        """How many lines of a day are known to be in the bucket."""
        if day not in self._done:
            known = uploaded.read(self._archive.root, self._archive.layout.stream, day)
            if known is None or known.bucket != str(self._bucket):
                return 0
            self._done[day] = known.lines, known.head
        lines, head = self._done[day]
        is_so = 0 < lines <= len(texts) and manifest.digest(texts[lines - 1].text) == head
        return lines if is_so else 0

    async def _day(self, day: str, texts: list[Text]) -> None:
        key = f"{self._archive.layout.stream}/{day}/{MANIFEST}"
        there = await self._bucket.get(key)
        done = self._common(there, texts)
        if there is not None and done < there.count(b"\n"):
            await self._replace(day, texts, done)
        if day in self._doubted:
            done = 0
        written = done
        for number, text in enumerate(texts[done:], done + 1):
            for file in manifest.files_of(text.line) if text.line is not None else ():
                await self._file(day, file)
            if number - written >= _LINES_AT_ONCE or number == len(texts):
                await self._manifest(key, day, texts[:number])
                written = number
        if done == len(texts):
            self._remember(day, texts)
        self._doubted.discard(day)

    def _common(self, there: bytes | None, texts: list[Text]) -> int:
        """How many lines both manifests begin with."""
        if there is None:
            return 0
        count = 0
        for ours, theirs in zip(texts, there.split(b"\n"), strict=False):
            if ours.text != theirs:
                break
            count += 1
        return count

    async def _replace(self, day: str, texts: list[Text], done: int) -> None:
        """Keep what the bucket has, where a repair wrote the chain anew.

        Raises:
            ForeignArchive: no repair did.
        """
        later = [text for text in texts[done:] if isinstance(text.line, Repaired)]
        later += [
            text
            for other in self._archive.days()
            if other > day
            for text in self._archive.texts(other)[0]
            if isinstance(text.line, Repaired)
        ]
        if not later:
            raise ForeignArchive(
                f"{self._bucket} has another manifest of {day}, which is not this archive's: give "
                "each archive an ARCHIVER_BUCKET_PREFIX of its own, or begin with the one that is "
                "there (`ssmd archive fetch`)"
            )
        stamp = manifest.digest(later[-1].text)[:16]
        sizes = await self._bucket.sizes(f"{self._archive.layout.stream}/{day}")
        for path in sizes:
            await self._bucket.copy(path, f"{ASIDE}/{stamp}/{path}")

    async def _file(self, day: str, file: File | StateFile) -> None:
        key = f"{self._archive.layout.stream}/{day}/{file.path}"
        path = self._archive.stream / day / file.path
        try:
            is_new = await send(self._bucket, key, path, (file.bytes, file.sha256))
        except ArchiveDamaged as error:
            raise ArchiveDamaged(
                f"{error}: `ssmd archive verify` says what is wrong, {repair_of(path)} mends it"
            ) from error
        if is_new:
            self._told(file.bytes)

    async def _manifest(self, key: str, day: str, texts: list[Text]) -> None:
        content = b"".join(text.text + b"\n" for text in texts)
        await send_text(self._bucket, key, content)
        self._remember(day, texts)

    def _remember(self, day: str, texts: list[Text], *, is_local: bool | None = None) -> None:
        root, stream = self._archive.root, self._archive.layout.stream
        before = uploaded.read(root, stream, day)
        head = manifest.digest(texts[-1].text)
        known = Uploaded(
            bucket=str(self._bucket),
            lines=len(texts),
            head=head,
            is_local=(before.is_local if before else True) if is_local is None else is_local,
            is_fetched=before.is_fetched if before else False,
        )
        uploaded.write(root, stream, day, known, self._disk)
        self._done[day] = len(texts), head

    def is_whole(self, day: str) -> bool:
        """Whether all of a day is known to be in the bucket."""
        try:
            texts, rest = self._archive.texts(day)
        except FileNotFoundError:
            return False
        return not rest and bool(texts) and self._known(day, texts) == len(texts)

    async def prune(self, keep_days: int) -> list[str]:
        """Delete the files of all but the newest days here, where the bucket has them; the days.

        The manifests stay. The bucket is asked once more before.
        """
        pruned = []
        for day in self._archive.days()[:-keep_days]:
            if day in self._pruned:
                continue
            paths = await asyncio.to_thread(self._deletable, day)
            if paths and await self._has(day):
                await asyncio.to_thread(self._delete, day, paths)
                pruned.append(day)
        return pruned

    def _deletable(self, day: str) -> list[Path]:
        """The files of a day, where all of it is known to be in the bucket."""
        known = uploaded.read(self._archive.root, self._archive.layout.stream, day)
        if known is None or known.is_fetched or not self.is_whole(day):
            return []
        paths = [
            self._archive.stream / day / file.path
            for text in self._archive.texts(day)[0]
            if text.line is not None
            for file in manifest.files_of(text.line)
        ]
        paths = [path for path in paths if path.exists()]
        if not paths and not known.is_local:
            self._pruned.add(day)
        return paths

    def _delete(self, day: str, paths: list[Path]) -> None:
        # First that they may be missing, then that they are.
        self._remember(day, self._archive.texts(day)[0], is_local=False)
        for path in paths:
            self._disk.remove(path)
        self._pruned.add(day)
        log.info(
            "deleted local copies of what the bucket has",
            stream=self._archive.layout.stream,
            day=day,
            files=len(paths),
        )

    async def _has(self, day: str) -> bool:
        """Whether the bucket still has a day: its manifest, and each file in its size."""
        stream = self._archive.layout.stream
        texts, _ = self._archive.texts(day)
        content = b"".join(text.text + b"\n" for text in texts)
        if await self._bucket.get(f"{stream}/{day}/{MANIFEST}") != content:
            self._doubt(day)
            return False
        sizes = await self._bucket.sizes(f"{stream}/{day}")
        wanted = {
            f"{stream}/{day}/{file.path}": file.bytes
            for text in texts
            if text.line is not None
            for file in manifest.files_of(text.line)
        }
        if all(sizes.get(key) == size for key, size in wanted.items()):
            return True
        log.error("the bucket lacks files that were uploaded: they are uploaded again", day=day)
        self._doubt(day)
        return False

    def _doubt(self, day: str) -> None:
        """Look at all of a day again."""
        self._done[day] = 0, ""
        self._whole.pop(day, None)
        self._doubted.add(day)
