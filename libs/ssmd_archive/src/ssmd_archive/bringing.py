"""Copies of what an archive's bucket has, brought when it is read: so many bytes of them at most.

Each copy is compared with the SHA-256 that the archive's manifests say. The one that was not read
for the longest time goes first; a file that is open stays readable.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

from ssmd_archive import manifest
from ssmd_archive.bucket import Bucket
from ssmd_archive.errors import ArchiveDamaged, UnreadableLine
from ssmd_archive.layout import MANIFEST

T = TypeVar("T")

MOST_BYTES: Final = 4 << 30
LEAST: Final = 16
"""So many stay whatever their size: they are about to be opened."""


class Bringing:
    """Of the archive in `root`; copies are in `folder`. Its calls may come from any thread, also
    from one with a running loop.

    Raises everywhere:
        BucketRefused, BucketUnreachable: the bucket gives nothing, or not now.
    """

    def __init__(
        self,
        bucket: Bucket,
        root: Path,
        folder: Path,
        *,
        most_bytes: int = MOST_BYTES,
        least: int = LEAST,
    ) -> None:
        self.bucket = bucket
        self.root = root
        self._folder = folder
        self._most_bytes = most_bytes
        self._least = least
        self._copies: OrderedDict[str, int] = OrderedDict()
        self._said: dict[str, dict[str, tuple[int, str]]] = {}
        self._lock = Lock()
        self._loop = ThreadPoolExecutor(1, "bucket")

    def ask(self, asking: Coroutine[Any, Any, T]) -> T:
        """What the bucket answers."""
        return self._loop.submit(asyncio.run, asking).result()

    def bring(self, path: Path) -> Path:
        """A copy of a sealed file, by its place in the archive (`ssmd_archive.away`).

        Raises:
            ArchiveDamaged: the bucket lacks it, or has something else.
        """
        key = path.relative_to(self.root).as_posix()
        stream, day, rest = key.split("/", 2)
        said = self._listed(f"{stream}/{day}").get(rest)
        return path if said is None else self.copy(key, *said)

    def copy(self, key: str, size: int, sha256: str) -> Path:
        """A copy of an object that has this digest.

        Raises:
            ArchiveDamaged: it is not there, or is something else.
        """
        with self._lock:
            target = self._folder / key
            if key in self._copies:
                self._copies.move_to_end(key)
                return target
            self.fetch(key, target, size, sha256)
            self._copies[key] = size
            self._forget_oldest()
            return target

    def fetch(self, key: str, target: Path, size: int, sha256: str) -> None:
        """The same to where the caller wants it, and to stay there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        found = self.ask(_download(self.bucket, key, part))
        if found != (size, sha256):
            part.unlink(missing_ok=True)
            what = "lacks" if found is None else "has something else in the place of"
            raise ArchiveDamaged(f"{self.bucket} {what} {key}, which its manifest lists")
        part.replace(target)

    def close(self) -> None:
        """Nothing is asked any more; copies stay for whoever removes the folder."""
        self._loop.shutdown()

    def _forget_oldest(self) -> None:
        while sum(self._copies.values()) > self._most_bytes and len(self._copies) > self._least:
            key, _ = self._copies.popitem(last=False)
            (self._folder / key).unlink()

    def _listed(self, folder: str) -> dict[str, tuple[int, str]]:
        """The sizes and digests of a day's files."""
        if folder not in self._said:
            *lines, _ = (self.root / folder / MANIFEST).read_bytes().split(b"\n")
            try:
                self._said[folder] = {
                    file.path: (file.bytes, file.sha256)
                    for line in lines
                    for file in manifest.files_of(manifest.decode(line))
                }
            except UnreadableLine as error:
                raise ArchiveDamaged(f"{folder}/{MANIFEST}: {error}") from error
        return self._said[folder]


async def _download(bucket: Bucket, key: str, to: Path) -> tuple[int, str] | None:
    digest, size = hashlib.sha256(), 0
    with to.open("wb") as file:
        async for piece in bucket.read(key):
            if piece is None:
                return None
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()
