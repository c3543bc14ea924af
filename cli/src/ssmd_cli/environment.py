"""The environment that `ssmd up` leaves in `.ssmd/env`, for commands that use the stores."""

import os
import shlex
from pathlib import Path
from typing import Final

ENV_FILE: Final = Path(".ssmd") / "env"


def load_env_file(path: Path = ENV_FILE) -> bool:
    """Set what the file has and the environment lacks; False if there is no such file.

    Its lines are `KEY=VALUE` as a shell reads them.
    """
    try:
        text = path.read_text("utf-8")
    except OSError:
        return False
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "export":
            words = words[1:]
        for word in words:
            name, equals, value = word.partition("=")
            if equals and name.isidentifier():
                os.environ.setdefault(name, value)
    return True


def advice(error: Exception) -> str:
    """For someone who has set nothing and runs nothing here: what to do first; else empty."""
    if "is missing" not in str(error) or ENV_FILE.exists():
        return ""
    return f"\n  No system runs here (no {ENV_FILE}): run `make up`, or set what is missing."


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
