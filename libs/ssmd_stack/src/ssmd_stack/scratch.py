"""A directory for one test run, which the next run removes if this one was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from ssmd_stack import account
from ssmd_stack.account import MEMORY
from ssmd_stack.process import end_leftover

_PREFIX = "ssmd-test-"
_LOCK = "owner.lock"

_ROOM_BYTES = 4 << 30
"""Of free memory for each directory: a run's servers need a tenth of it."""


@contextlib.contextmanager
def scratch_directory(*, in_memory: bool = False) -> Iterator[Path]:
    """A private directory under the system's temp directory, removed at the end.

    `in_memory` puts it into memory where that has room for it and TMPDIR says nothing else: a
    database for each test makes and removes 300 files, which ext4 needs ten times as long for.
    """
    sweep()
    place = MEMORY if in_memory and _has_room(MEMORY) else None
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    # Held while this process lives: the kernel lets go of it however the process ends.
    lock = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory
    finally:
        _remove(directory)
        os.close(lock)


def sweep(*, min_age_seconds: float = 30.0) -> list[Path]:
    """Remove what killed runs of this user left; younger directories may still be in the making."""
    removed = []
    places = {Path(tempfile.gettempdir()), MEMORY}
    for directory in (found for place in places for found in place.glob(f"{_PREFIX}*")):
        with contextlib.suppress(OSError):
            found = directory.lstat()
            is_old = time.time() - found.st_mtime >= min_age_seconds
            if found.st_uid == os.geteuid() and is_old and _is_abandoned(directory):
                _remove(directory)
                removed.append(directory)
    return removed


def _has_room(memory: Path) -> bool:
    if "TMPDIR" in os.environ or not os.access(memory, os.W_OK):
        return False
    found = os.statvfs(memory)
    room = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    # PostgreSQL's programs are run from there.
    return room >= _ROOM_BYTES and not found.f_flag & os.ST_NOEXEC


def _is_abandoned(directory: Path) -> bool:
    lock = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _remove(directory: Path) -> None:
    for server in (entry for entry in directory.iterdir() if entry.name != _LOCK):
        if server.is_dir():
            end_leftover(server / "server.pid")
        if server.is_symlink():
            account.remove(server)
    shutil.rmtree(directory, ignore_errors=True)
