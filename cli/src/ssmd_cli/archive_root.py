"""What the verbs of `ssmd archive` share: options, and the archive's directory."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from ssmd_cli.environment import load_env_file, quiet_logs
from ssmd_common.errors import SsmdError

_LOCAL_ROOT: Final = Path(".ssmd") / "archive"

Root = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The archive's directory; by default ARCHIVER_ROOT, else that of `ssmd up`, "
        f"{_LOCAL_ROOT}.",
    ),
]
Stream = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="SECMASTER_CDC (the default), MARKET_DATA or MARKET_BOOKS_0 and so on.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


class FilesRefused(SsmdError):
    """The file system refuses what was asked of it."""


@contextlib.contextmanager
def archive_at(root: Path | None) -> Iterator[Path]:
    """The archive's directory.

    Raises:
        FilesRefused: what is done inside cannot be done there.
    """
    load_env_file()
    quiet_logs()
    found = root or Path(os.environ.get("ARCHIVER_ROOT") or _LOCAL_ROOT)
    try:
        yield found
    except (BrokenPipeError, TimeoutError):
        raise
    except OSError as error:
        raise FilesRefused(
            f"{error.filename or found}: {error.strerror}. Nothing that the archive had is lost: "
            "mend that, and run the command again"
        ) from error
