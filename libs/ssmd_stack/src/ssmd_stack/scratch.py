"""A directory for one test run, which the next run removes if this one was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ssmd_stack import account
from ssmd_stack.process import end_leftover

_PREFIX = "ssmd-test-"
_LOCK = "owner.lock"


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """A private directory under the system's temp directory, removed at the end."""
    sweep()
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
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
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = directory.lstat()
            is_old = time.time() - found.st_mtime >= min_age_seconds
            if found.st_uid == os.geteuid() and is_old and _is_abandoned(directory):
                _remove(directory)
                removed.append(directory)
    return removed


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
