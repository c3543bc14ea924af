"""PostgreSQL refuses to run as root: as root it runs as `nobody`, from a private directory.

`/root` is closed to others, and so may be any folder above a checkout. Therefore binaries and data
are in a directory of their own under the system's temp directory, or in memory if the directory
that the caller named is there, and that one is a link to it. The same is done where a path is too
long for PostgreSQL.
"""

import os
import pwd
import secrets
import shutil
import signal
import stat
import tempfile
from pathlib import Path

from ssmd_stack.errors import AccountUnusable
from ssmd_stack.process import Account, end_leftover

#: PostgreSQL keeps paths in buffers of 1,024 bytes; a file in its data directory needs the rest.
_LONGEST_PATH = 700
#: A file system in memory, where there is one (Linux).
MEMORY = Path("/dev/shm")  # noqa: S108 - names in it are made by mkdtemp, or random
_PREFIX = "ssmd-postgres-"
_LINK = "linked-from"


def postgres_account() -> Account | None:
    """None if this user can run PostgreSQL itself, else the account to use; raises if none can."""
    uid = os.geteuid()
    if uid == 0:
        try:
            entry = pwd.getpwnam("nobody")
        except KeyError:
            raise AccountUnusable(
                "PostgreSQL refuses to run as root and this machine has no user `nobody`:"
                " run as an ordinary user"
            ) from None
        return Account(entry.pw_uid, entry.pw_gid)
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise AccountUnusable(
            f"user id {uid} has no entry in /etc/passwd, which PostgreSQL's initdb needs:"
            " run as a named user, or set SSMD_STACK=external"
        ) from None
    return None


def settle(directory: Path, account: Account | None) -> Path:
    """Make the directory where PostgreSQL lives and return its real path.

    That is `directory` itself, or a private one that it links to.
    """
    if account is None and len(os.fsencode(directory)) <= _LONGEST_PATH:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return directory
    if directory.is_symlink():
        real = directory.resolve()
        if _is_ours(real, account):
            return real
        directory.unlink()
    elif directory.exists():
        raise AccountUnusable(
            f"{directory} was made by another user's run: remove it, or run as that user again"
        )
    in_memory = directory.is_relative_to(MEMORY)
    temp = MEMORY if in_memory else Path(tempfile.gettempdir()).resolve()
    if account is not None:
        _require_reachable(temp)
    real = temp / f"{_PREFIX}{secrets.token_hex(8)}"
    directory.parent.mkdir(parents=True, exist_ok=True)
    # The link comes first: a run that is killed here leaves nothing that nobody points to.
    directory.symlink_to(real, target_is_directory=True)
    real.mkdir(mode=0o700)
    (real / _LINK).write_text(str(directory))
    hand_over(real, account)
    _sweep(temp)
    return real


def install(bin_dir: Path, home: Path, account: Account | None) -> Path:
    """The bin directory to run from: `bin_dir`, or a copy of it inside `home` for the account.

    A PostgreSQL of the system's own (its `share` is elsewhere) is readable to all and stays put.
    """
    root = bin_dir.parent
    movable = any((root / "share").glob("**/postgres.bki"))
    short = len(os.fsencode(bin_dir)) <= _LONGEST_PATH
    if not movable or (account is None and short):
        return bin_dir
    # Binaries find their bundled libraries at ../../../<package>.libs, so that shape is kept.
    package = root.parent
    copy = home / "install" / package.name / root.name
    complete = home / "install" / f"complete-{_fingerprint(bin_dir)}"
    if not complete.exists():
        shutil.rmtree(home / "install", ignore_errors=True)
        for part in ("bin", "lib", "share"):
            shutil.copytree(
                root / part,
                copy / part,
                symlinks=True,
                ignore=shutil.ignore_patterns("*.a", "pgxs"),
            )
        bundled = package.with_name(f"{package.name}.libs")
        if bundled.is_dir():
            shutil.copytree(bundled, home / "install" / bundled.name)
        complete.touch()
    return copy / bin_dir.name


def remove(directory: Path) -> None:
    """Delete what `settle` made, link and target; nothing happens if it is gone."""
    if directory.is_symlink():
        shutil.rmtree(directory.resolve(), ignore_errors=True)
        directory.unlink(missing_ok=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)


def hand_over(path: Path, account: Account | None) -> None:
    """Give a file or directory to the account."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _sweep(temp: Path) -> None:
    """Remove private directories that nothing links to any more: their `.ssmd` was deleted."""
    for real in temp.glob(f"{_PREFIX}*"):
        try:
            text = (real / _LINK).read_text()
            if not text:
                # Just being made: the file is there, and its text is not yet.
                continue
            link = Path(text)
            if link.is_symlink() and link.readlink() == real:
                continue
            end_leftover(real / "server.pid", first=signal.SIGQUIT)
        except OSError:
            # Another user's, or just being made.
            continue
        shutil.rmtree(real, ignore_errors=True)


def _fingerprint(bin_dir: Path) -> str:
    binary = (bin_dir / "postgres").stat()
    return f"{binary.st_size}-{int(binary.st_mtime)}"


def _is_ours(real: Path, account: Account | None) -> bool:
    """Whether a link still leads to our directory: systems clean their temp directories."""
    owner = account.uid if account else os.geteuid()
    try:
        found = real.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and real.name.startswith(_PREFIX)


def _require_reachable(directory: Path) -> None:
    for folder in (directory, *directory.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise AccountUnusable(
                f"PostgreSQL runs as `nobody`, who cannot enter {folder}:"
                " set TMPDIR to a directory that every user can enter"
            )
