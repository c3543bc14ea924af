"""What a writer does to the file system, one call each, so that tests can have a disk that fails,
fills, or loses what was not synced.
"""

import errno
import os
from pathlib import Path
from typing import Final

from ssmd_archive.errors import SyncFailed

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: OSError) -> bool:
    """Whether there is no room: on the disk, in a quota, or in what this process may write."""
    return error.errno in _FULL


class Disk:
    """Errors are OSError, but for `SyncFailed`."""

    def make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def open(self, path: Path) -> int:
        """Open for reading and writing; made where it is not there. The caller closes it."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, file: int, data: bytes, offset: int) -> None:
        """All of `data`. After an error some of it may be there: the next write overwrites it."""
        view = memoryview(data)
        while view:
            written = os.pwrite(file, view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def sync(self, file: int) -> None:
        """What was written is on the disk afterwards.

        Raises:
            SyncFailed: nobody knows what is.
        """
        try:
            os.fsync(file)
        except OSError as error:
            if is_full(error):
                raise
            raise SyncFailed(f"the disk did not take what was written ({error})") from error

    def sync_directory(self, path: Path) -> None:
        """The names in it are on the disk afterwards."""
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(file)
        finally:
            os.close(file)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
