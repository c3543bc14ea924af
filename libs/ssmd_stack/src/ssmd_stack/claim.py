"""One system per directory: a lock that the kernel lets go of however its holder ends."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ssmd_stack.errors import DirectoryInUse, DirectoryUnusable

_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that runs the system in a directory."""

    pid: int
    since: str


@contextlib.contextmanager
def claim(directory: Path) -> Iterator[None]:
    """Hold the directory while inside.

    Raises:
        DirectoryInUse: another process holds it; says which.
        DirectoryUnusable: it cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Not truncated before it is ours: the holder's words are in it.
        handle = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DirectoryUnusable(
            f"{directory} cannot be used ({error.strerror}): give a folder that this user may"
            " write with --dir, or run as the user who made it"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryInUse(_refusal(directory, _read(directory))) from None
        holder = Holder(os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(asdict(holder)).encode())
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def holder_of(directory: Path) -> Holder | None:
    """Who holds the directory now; None if nobody does."""
    try:
        handle = os.open(directory / _LOCK, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(directory) or Holder(0, "unknown")
    finally:
        os.close(handle)
    return None


def _read(directory: Path) -> Holder | None:
    try:
        return Holder(**json.loads((directory / _LOCK).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _refusal(directory: Path, holder: Holder | None) -> str:
    who = "another process"
    if holder:
        since = holder.since.replace("T", " ").replace("+00:00", " UTC")
        who = f"process {holder.pid} since {since}"
    return (
        f"{directory} is in use by {who}: stop that system with `ssmd down`,"
        " or give this one a directory of its own with --dir"
    )
