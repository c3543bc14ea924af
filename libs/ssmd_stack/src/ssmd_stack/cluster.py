"""A PostgreSQL data directory and its settings, in a `home` that also has passwords and marks.

Each step leaves a mark when it is complete: a start that was killed is made good by the next one.
"""

import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ssmd_stack import account, binaries
from ssmd_stack.errors import ServerFailed
from ssmd_stack.process import Account, Process, tail

#: What moves the clock of a process (libfaketime): tests/dates.py moves all of them alike.
_CLOCK: Final = ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT")
#: Nothing else of the caller's: PGDATA, PGPORT or a locale would change what the server does.
ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "TZ": "UTC",
    **({name: os.environ[name] for name in _CLOCK if name in os.environ}),
}

#: For every server: logical replication with room for all services and their tests.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "60",
    "max_wal_senders": "60",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
#: For tests that do not lose the machine: nothing is forced to disk.
_VOLATILE = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    # DROP DATABASE waits for whoever began to connect and was cancelled.
    "authentication_timeout": "15s",
}

_COMPLETE: Final = "initialised"
_ON_DISK: Final = "synced"


def is_complete(home: Path) -> bool:
    """Whether `initialise` has come to its end here."""
    return (home / _COMPLETE).exists()


async def initialise(home: Path, bin_dir: Path, user: Account | None) -> None:
    """Make the data directory, in place of what a killed attempt left.

    Raises:
        ServerFailed: with the end of initdb's log.
    """
    account.remove(home / "data")
    (home / _ON_DISK).unlink(missing_ok=True)
    locale = (
        ["--locale-provider=builtin", "--locale=C.UTF-8"]
        if binaries.postgres_major(bin_dir) >= 17
        else ["--locale=C.UTF-8"]
    )
    log = home / "initdb.log"
    initdb = Process(
        [
            bin_dir / "initdb", "--pgdata=data", "--username=postgres", "--encoding=UTF8",
            "--auth=scram-sha-256", "--pwfile=superuser.password", "--no-sync",
            "--no-instructions", *locale,
        ],
        log=log, cwd=home, account=user, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        code = await initdb.wait()
    finally:
        await initdb.stop()
    if code != 0:
        raise ServerFailed(f"initdb failed in {home}:\n{tail(log)}")
    with (home / "data" / "postgresql.conf").open("a") as file:
        file.write("\ninclude '../ssmd.conf'\n")
    (home / _COMPLETE).touch()


def copy(source: Path, home: Path) -> None:
    """Put all that is in another home, whose server was stopped in order, into this empty one.

    It counts as on disk, so it is for tests, which do not lose the machine.
    """
    names = ("data", "install", "superuser.password", "role.password", _COMPLETE)
    parts = [source / name for name in names if (source / name).exists()]
    # It keeps owners, which shutil does not.
    subprocess.run(["cp", "-Rp", *parts, home], check=True)
    (home / _ON_DISK).touch()


def is_on_disk(home: Path) -> bool:
    """Whether `put_on_disk` has come to its end here."""
    return (home / _ON_DISK).exists()


async def put_on_disk(home: Path, bin_dir: Path, user: Account | None) -> None:
    """What `initialise` left out for a quick start; the server may run meanwhile.

    Cancelled before it is done, it is to be called again at the next start.
    """
    sync = Process(
        [bin_dir / "initdb", "--sync-only", "--pgdata=data"],
        log=home / "initdb.log",
        cwd=home,
        account=user,
        env=ENVIRONMENT,
    )
    try:
        if await sync.wait() == 0:
            (home / _ON_DISK).touch()
    finally:
        await sync.stop()


def write_settings(home: Path, bin_dir: Path, *, durable: bool, more: Mapping[str, str]) -> None:
    """Write the settings that the next start reads."""
    settings = {**_SETTINGS, **({} if durable else _VOLATILE), **more}
    if not durable and binaries.postgres_major(bin_dir) >= 16:
        settings["scram_iterations"] = "1"
    lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
    (home / "ssmd.conf").write_text("".join(lines))


def require_same_major(home: Path, bin_dir: Path) -> None:
    """Raise ServerFailed if another major version made the data."""
    if not is_complete(home):
        return
    made_by = (home / "data" / "PG_VERSION").read_text().strip()
    now = binaries.postgres_major(bin_dir)
    if made_by != str(now):
        raise ServerFailed(
            f"the data in {home} was made by PostgreSQL {made_by} and this is {now}: use that"
            " version (SSMD_POSTGRES_BIN), or delete the data"
        )


def make_passwords(home: Path, user: Account | None) -> None:
    """Make the passwords of the superuser and of the role, once."""
    for name in ("superuser", "role"):
        if not _password_file(home, name).exists():
            unfinished = home / f"{name}.new"
            unfinished.unlink(missing_ok=True)
            unfinished.touch(mode=0o600)
            unfinished.write_text(secrets.token_hex(16) + "\n")
            account.hand_over(unfinished, user)
            unfinished.replace(_password_file(home, name))


def password(home: Path, name: str) -> str:
    """The password of `superuser` or `role`."""
    return _password_file(home, name).read_text().strip()


def _password_file(home: Path, name: str) -> Path:
    return home / f"{name}.password"
