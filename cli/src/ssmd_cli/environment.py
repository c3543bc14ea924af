"""The environment that `ssmd up` leaves in `.ssmd/env`, for commands that use the stores."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ENV_FILE: Final = Path(".ssmd") / "env"
_DEFAULTED: Final = ("NATS_URL", "REDIS_URL", "SSMD_API_URL")


def load_env_file(path: Path = ENV_FILE) -> bool:
    """Set what the file has and the environment lacks; False if there is no such file."""
    found = read(path)
    for name, value in (found or {}).items():
        os.environ.setdefault(name, value)
    return found is not None


def read(path: Path) -> dict[str, str] | None:
    """What the file sets, None if there is no such file. Its lines are `KEY=VALUE` as a shell reads
    them; of a name that it has twice the first counts."""
    try:
        text = path.read_text("utf-8")
    except OSError:
        return None
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "export":
            words = words[1:]
        for word in words:
            name, equals, value = word.partition("=")
            if equals and name.isidentifier():
                found.setdefault(name, value)
    return found


def differing(here: Mapping[str, str]) -> list[str]:
    """The names which this process's environment has, too, and with other values."""
    return [name for name, value in here.items() if os.environ.get(name) not in (None, value)]


def advice(error: Exception) -> str:
    """For someone who has set nothing and runs nothing here, or whose shell has the addresses of a
    system that was started anew since: what to do first; else empty."""
    said = str(error)
    here = read(ENV_FILE)
    if here is None:
        # Where nothing is set some have a default, which nobody meant.
        unset = [name for name in _DEFAULTED if name in said and name not in os.environ]
        if not unset and "is missing" not in said:
            return ""
        missing = ", ".join(unset) or "what is missing"
        return f"\n  No system runs here (no {ENV_FILE}): run `make up`, or set {missing}."
    for name in differing(here):
        if name in said:
            return (
                f"\n  {name} in this shell is not that of the system that runs here: "
                f"`set -a; . {ENV_FILE}; set +a` sets it anew."
            )
    return ""


def quiet_logs(*, waits: bool = False) -> None:
    """Stdout is for data: of the connections' log only errors are shown, on stderr.

    A command that `waits` for servers shows for which one.
    """
    import logging

    import structlog

    from ssmd_cli.output import STDERR

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.WARNING if waits else logging.ERROR
        ),
        logger_factory=structlog.PrintLoggerFactory(STDERR),
    )
