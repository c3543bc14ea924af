"""One writer for an archive: a lock on a file that ends with the process that holds it."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssmd_archive.errors import ArchiveLocked
from ssmd_archive.layout import LOCK


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the archive, which is made where it is not there, while inside.

    Raises:
        ArchiveLocked: another process holds it.
        OSError: the directory cannot be written to.
    """
    root.mkdir(parents=True, exist_ok=True)
    file = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 200, 0).decode(errors="replace").strip()
            raise ArchiveLocked(root, holder or "another process") from None
        # For whoever is refused; on a full disk the lock holds without it.
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except OSError:
            pass
        # The file stays: were it removed, two processes could hold a lock on two files.
        yield
    finally:
        os.close(file)
