"""`.ssmd/env`: where a running system's parts are, for shells and programs."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

_NAME = "env"


def write_env(directory: Path, variables: Mapping[str, str]) -> None:
    """KEY=VALUE lines that a POSIX shell can source; only the owner may read them."""
    remove_env(directory)
    handle = os.open(directory / _NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.writelines(f"{name}={shlex.quote(text)}\n" for name, text in variables.items())


def read_env(directory: Path) -> dict[str, str]:
    """What `write_env` wrote; empty if no system runs there."""
    try:
        lines = (directory / _NAME).read_text().splitlines()
    except OSError:
        return {}
    pairs = (shlex.split(line)[0].partition("=") for line in lines if "=" in line)
    return {name: text for name, _, text in pairs}


def remove_env(directory: Path) -> None:
    """The system is gone: nothing may be led to its addresses."""
    (directory / _NAME).unlink(missing_ok=True)
