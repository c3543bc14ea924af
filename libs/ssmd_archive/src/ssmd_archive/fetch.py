"""An archive's days out of its bucket: into a directory of their own, or back to where they were.

All manifests come, since one proves the next; of files those of the days that are asked for. Days
without their files are known to be in the bucket (`ssmd_archive.uploaded`).
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from ssmd_archive import certificate, manifest, uploaded
from ssmd_archive.bucket import Bucket
from ssmd_archive.certificate import CERTIFICATES
from ssmd_archive.disk import Disk
from ssmd_archive.errors import (
    ArchiveDamaged,
    ArchiveLocked,
    CertificateUnreadable,
    ForeignArchive,
    NotArchived,
    UnreadableLine,
)
from ssmd_archive.hashing import hash_file
from ssmd_archive.layout import MANIFEST, is_day, layout_of
from ssmd_archive.lock import locked
from ssmd_archive.manifest import File, Line, StateFile
from ssmd_archive.parquet import record
from ssmd_archive.parquet.record import Made
from ssmd_archive.uploaded import Uploaded

SCRATCH: Final = ".fetch"
_AT_ONCE: Final = 256
"""Certificates in memory."""


class Fetched(msgspec.Struct):
    """What came of it: `days` are `<stream>/<day>`; files that were there are not counted."""

    manifests: int = 0
    files: int = 0
    bytes: int = 0
    days: list[str] = []
    certificates: int = 0


async def streams(bucket: Bucket) -> list[str]:
    """The streams that a bucket has an archive of."""
    return [name for name in await bucket.folders() if layout_of(name) is not None]


async def records(
    bucket: Bucket, known: list[str], days: Collection[str] | None = None
) -> dict[str, bytes]:
    """The records of compacted days of these streams, by their keys."""
    keys = [
        f"{record.FOLDER}/{stream}/{folder}/{record.RECORD}"
        for stream in known
        for folder in await bucket.folders(f"{record.FOLDER}/{stream}")
        if (day := record.day_in(folder)) is not None and (days is None or day in days)
    ]
    found = zip(keys, await bucket.get_all(keys), strict=True)
    return {key: content for key, content in found if content is not None}


async def fetch(
    root: Path,
    bucket: Bucket,
    days: Collection[str] | None,
    *,
    wanted: Callable[[str], bool] = lambda _: True,
    stream: str | None = None,
    certificates: bool = False,
    parquet: bool = False,
    told: Callable[[int], None] = lambda _: None,
    disk: Disk | None = None,
) -> Fetched:
    """Bring days, all of them where none are named: the files of the folders that are `wanted`,
    with `parquet` also those of Parquet; all `certificates` that are not here.

    Raises:
        NotArchived: the bucket has none of a day.
        ForeignArchive: another archive is there already.
        ArchiveDamaged: what the bucket gives is not what its manifest says; nothing of that stays.
        ArchiveLocked: an archiver writes there, and has no such days.
    """
    work = _Fetch(root, bucket, disk or Disk(), wanted, told)
    known = [stream] if stream else await streams(bucket)
    try:
        with ExitStack() as stack:
            for name in known:
                await work.stream(name, days, stack)
                if parquet:
                    await work.parquet(name, days)
        if certificates:
            await work.certificates()
    finally:
        shutil.rmtree(root / SCRATCH, ignore_errors=True)
    missing = sorted(set(days or ()) - {day.partition("/")[2] for day in work.found.days})
    if missing or not work.found.days:
        raise NotArchived(f"{bucket} has nothing of {', '.join(missing) or 'an archive'}")
    return work.found


class _Fetch:
    def __init__(
        self,
        root: Path,
        bucket: Bucket,
        disk: Disk,
        wanted: Callable[[str], bool],
        told: Callable[[int], None],
    ) -> None:
        self._root = root
        self._bucket = bucket
        self._disk = disk
        self._wanted = wanted
        self._told = told
        self._is_held = False
        self.found = Fetched(days=[])

    async def stream(self, stream: str, days: Collection[str] | None, stack: ExitStack) -> None:
        """Bring the days of one stream."""
        there = [day for day in await self._bucket.folders(stream) if is_day(day)]
        contents = await self._bucket.get_all([f"{stream}/{day}/{MANIFEST}" for day in there])
        manifests = {
            day: content
            for day, content in zip(there, contents, strict=True)
            if content is not None
        }
        new = [day for day in manifests if not self._manifest(stream, day).is_file()]
        if new:
            self._hold(stream, new, stack)
        for day, content in manifests.items():
            if day in new:
                self._put_manifest(stream, day, content)
            else:
                self._require_same(stream, day, content)
        for day, content in manifests.items():
            if days is None or day in days:
                await self._files(stream, day, content)
                self.found.days.append(f"{stream}/{day}")

    def _hold(self, stream: str, new: list[str], stack: ExitStack) -> None:
        """Where days come that are not here, nobody else may write."""
        if self._is_held:
            return
        try:
            stack.enter_context(locked(self._root))
        except ArchiveLocked as error:
            if (self._root / stream).is_dir():
                raise ArchiveLocked(
                    self._root, f"{error.holder}, whose retention removed {new[0]}"
                ) from None
            raise
        self._is_held = True

    def _put_manifest(self, stream: str, day: str, content: bytes) -> None:
        lines = content.splitlines()
        known = Uploaded(
            bucket=str(self._bucket), lines=len(lines), head=manifest.digest(lines[-1]),
            is_local=False,
        )  # fmt: skip
        # First that files may be missing.
        uploaded.write(self._root, stream, day, known, self._disk)
        self._put(self._manifest(stream, day), content)
        self.found.manifests += 1

    def _require_same(self, stream: str, day: str, content: bytes) -> None:
        if not self._manifest(stream, day).read_bytes().startswith(content):
            raise ForeignArchive(
                f"{self._root} has another manifest of {day} of {stream} than {self._bucket}: "
                "fetch into a directory of its own (--root)"
            )

    async def _files(self, stream: str, day: str, content: bytes) -> None:
        left = 0
        for text in content.splitlines():
            for file in manifest.files_of(_line(text, day)):
                if not self._wanted(file.path.partition("/")[0]):
                    left += not (self._root / stream / day / file.path).exists()
                    continue
                await self._object(f"{stream}/{day}/{file.path}", file)
        known = uploaded.read(self._root, stream, day)
        if known is not None and not known.is_local:
            here = msgspec.structs.replace(known, is_local=not left, is_fetched=True)
            uploaded.write(self._root, stream, day, here, self._disk)

    async def parquet(self, stream: str, days: Collection[str] | None) -> None:
        """Bring compacted days: a day's record comes last. Other Parquet that is here stays."""
        for key, content in (await records(self._bucket, [stream], days)).items():
            path = self._root / key
            known = record.decode(path, content)
            if path.is_file() and path.read_bytes() != content:
                continue
            for made in known.tables:
                if self._wanted(made.table):
                    await self._object(f"{key.rpartition('/')[0]}/{made.path}", made)
            if not path.is_file():
                self._put(path, content)

    async def certificates(self) -> None:
        """Bring those that are not here: what is here is newer."""
        missing = [
            key
            for key in sorted(await self._bucket.sizes(CERTIFICATES))
            if not (self._root / key).exists()
        ]
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            for key, content in zip(some, await self._bucket.get_all(some), strict=True):
                if content is not None:
                    self._certificate(key, content)

    def _certificate(self, key: str, content: bytes) -> None:
        try:
            certificate.decode(content)
        except CertificateUnreadable as error:
            raise ArchiveDamaged(f"{key} of {self._bucket}: {error}") from error
        self._put(self._root / key, content)
        self.found.certificates += 1

    def _put(self, path: Path, content: bytes) -> None:
        """Write a small file, all of it or nothing."""
        self._disk.make_directory(path.parent)
        part = self._scratch() / "small"
        self._write(part, [content])
        self._disk.rename(part, path)
        self._disk.sync_directory(path.parent)

    async def _object(self, key: str, file: File | StateFile | Made) -> None:
        path = self._root / key
        if path.is_file() and hash_file(path) == (file.bytes, file.sha256):
            return
        part = self._scratch() / "file"
        digest = hashlib.sha256()
        size = 0
        target = self._disk.open(part)
        try:
            self._disk.truncate(target, 0)
            async for piece in self._bucket.read(key):
                if piece is None:
                    raise ArchiveDamaged(f"{self._bucket} lacks {key}, which its manifest lists")
                self._disk.write(target, piece, size)
                digest.update(piece)
                size += len(piece)
                self._told(len(piece))
            self._disk.sync(target)
        finally:
            os.close(target)
        if (size, digest.hexdigest()) != (file.bytes, file.sha256):
            raise ArchiveDamaged(f"{key} of {self._bucket} is not what its manifest says")
        self._disk.make_directory(path.parent)
        self._disk.rename(part, path)
        self._disk.sync_directory(path.parent)
        self.found.files += 1
        self.found.bytes += size

    def _scratch(self) -> Path:
        scratch = self._root / SCRATCH
        self._disk.make_directory(scratch)
        return scratch

    def _manifest(self, stream: str, day: str) -> Path:
        return self._root / stream / day / MANIFEST

    def _write(self, path: Path, pieces: list[bytes]) -> None:
        file = self._disk.open(path)
        try:
            self._disk.truncate(file, 0)
            self._disk.write(file, b"".join(pieces), 0)
            self._disk.sync(file)
        finally:
            os.close(file)


def _line(text: bytes, day: str) -> Line:
    try:
        return manifest.decode(text)
    except UnreadableLine as error:
        raise ArchiveDamaged(f"the bucket's manifest of {day}: {error}") from error
