"""Certificates and Parquet into the bucket, beside the streams' files (docs/archive.md § Buckets).

What is sent is read back and compared, as sealed files are. Certificates up to a time of writing
are in the bucket: `.bucket/certificates.json` has it. A day's `manifest.json` goes after its
Parquet, and the one in the bucket says whether that is there.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from ssmd_archive import certificate
from ssmd_archive.bucket import Bucket
from ssmd_archive.certificate import CERTIFICATES, Certificate
from ssmd_archive.disk import Disk
from ssmd_archive.errors import ArchiveDamaged, CertificateUnreadable
from ssmd_archive.layout import layout_of
from ssmd_archive.manifest import digest
from ssmd_archive.parquet import record
from ssmd_archive.sending import send, send_text
from ssmd_archive.uploaded import UPLOADED

_AT_ONCE: Final = 8
_MOST: Final = 400
"""Certificates that are sent before anything else has its turn."""
_SLACK_NS: Final = 60 * 10**9
"""Names appear in another order than their files were written in, by less than this."""
_SETTLED_NS: Final = 2 * 10**9
"""A folder's time of change tells of all that was changed so long ago."""


class Through(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates that were written up to then, in nanoseconds since 1970, are in the bucket."""

    v: int = 1
    bucket: str
    through_ns: int


class Beside:
    """Of one archive. Its calls go on beside whoever certifies and compacts."""

    def __init__(
        self, root: Path, bucket: Bucket, *, parquet: bool = False, disk: Disk | None = None
    ) -> None:
        self._root = root
        self._bucket = bucket
        self._parquet = parquet
        self._disk = disk or Disk()
        self._state = root / UPLOADED / f"{CERTIFICATES}.json"
        self._through_ns = self._remembered()
        self._sent: dict[Path, int] = {}
        """When certificates were written that are within the slack, and are there."""
        self._seen: dict[str, int] = {}
        """Folders' times of change, where all in them is there."""
        self._compacted: dict[Path, str] = {}
        """Digests of the records of days whose Parquet is there."""

    async def work(self) -> bool:
        """Send what the bucket lacks; whether there is more to do at once.

        Raises:
            BucketRefused, BucketUnreachable: the bucket takes it not, or not now.
            ArchiveDamaged: a file is not as it was written; all others are there.
        """
        damaged: list[ArchiveDamaged] = []
        has_more = await self._certificates(damaged)
        if self._parquet:
            for path in await asyncio.to_thread(self._records):
                try:
                    await self._day(path)
                except ArchiveDamaged as error:
                    damaged.append(error)
        if damaged:
            raise damaged[0]
        return has_more

    async def _certificates(self, damaged: list[ArchiveDamaged]) -> bool:
        found = await asyncio.to_thread(self._new)
        some = iter(found[:_MOST])
        while batch := list(islice(some, _AT_ONCE)):
            told = await asyncio.gather(*(self._certificate(path) for _, path in batch))
            damaged += [error for error in told if error is not None]
            for (at, path), error in zip(batch, told, strict=True):
                if error is None:
                    self._sent[path] = at
        if found and not damaged:
            await asyncio.to_thread(self._remember, found[:_MOST][-1][0])
        return len(found) > _MOST

    async def _certificate(self, path: Path) -> ArchiveDamaged | None:
        key = path.relative_to(self._root).as_posix()
        content = await asyncio.to_thread(path.read_bytes)
        try:
            ours = certificate.decode(content)
        except CertificateUnreadable as error:
            return ArchiveDamaged(f"{path} is not uploaded: {error}; certify the market again")
        there = await self._bucket.get(key)
        if there != content and not _is_newer(there, ours):
            await send_text(self._bucket, key, content)
        return None

    def _new(self) -> list[tuple[int, Path]]:
        """Certificates that are not known to be there, each with its time of writing, the oldest
        first."""
        found: list[tuple[int, Path]] = []
        for folder in _entries(self._root / CERTIFICATES):
            changed = folder.stat().st_mtime_ns
            if self._seen.get(folder.name) == changed:
                continue
            new = [
                (at, path)
                for entry in _entries(folder.path)
                if entry.name.endswith(certificate.SUFFIX)
                and (at := entry.stat().st_mtime_ns) > self._through_ns - _SLACK_NS
                and self._sent.get(path := Path(entry.path)) != at
            ]
            found += new
            if not new and time.time_ns() - changed > _SETTLED_NS:
                self._seen[folder.name] = changed
        return sorted(found)

    def _remembered(self) -> int:
        try:
            known = msgspec.json.decode(self._state.read_bytes(), type=Through)
        except (FileNotFoundError, msgspec.MsgspecError):
            return 0
        return known.through_ns if known.bucket == str(self._bucket) else 0

    def _remember(self, through_ns: int) -> None:
        self._through_ns = max(self._through_ns, through_ns)
        known = Through(bucket=str(self._bucket), through_ns=self._through_ns)
        self._disk.make_directory(self._state.parent)
        part = self._state.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(known) + b"\n")
        self._disk.rename(part, self._state)
        oldest = self._through_ns - _SLACK_NS
        self._sent = {path: at for path, at in self._sent.items() if at > oldest}

    def _records(self) -> list[Path]:
        """Those of all compacted days."""
        return [
            record.folder_of(self._root, entry.name, day) / record.RECORD
            for entry in _entries(self._root / record.FOLDER)
            if layout_of(entry.name) is not None
            for day in record.compacted_days(self._root, entry.name)
        ]

    async def _day(self, path: Path) -> None:
        """Send a day's Parquet, then its record."""
        content = await asyncio.to_thread(_content, path)
        if content is None or self._compacted.get(path) == digest(content):
            return
        key = path.relative_to(self._root).as_posix()
        if await self._bucket.get(key) != content:
            known = record.decode(path, content)
            for made in known.tables:
                target = path.with_name(made.path)
                place = target.relative_to(self._root).as_posix()
                try:
                    await send(self._bucket, place, target, (made.bytes, made.sha256))
                except ArchiveDamaged as error:
                    if await asyncio.to_thread(_content, path) != content:
                        # It was compacted anew meanwhile: next time.
                        return
                    raise ArchiveDamaged(
                        f"{target} is not uploaded, it is not as it was written: `ssmd archive "
                        f"compact --again --date {known.day}` makes it anew"
                    ) from error
            await send_text(self._bucket, key, content)
        self._compacted[path] = digest(content)


def _is_newer(there: bytes | None, ours: Certificate) -> bool:
    """Whether somebody certified the market in the bucket since."""
    try:
        return there is not None and certificate.decode(there).certified_at > ours.certified_at
    except CertificateUnreadable:
        return False


def _entries(folder: Path | str) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except (FileNotFoundError, NotADirectoryError):
        return


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
