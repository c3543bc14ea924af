"""What the verbs of `ssmd archive` share: options, and where the archive is.

`--root s3://BUCKET/PREFIX` is a directory of manifests, whose files are brought when they are read
(`archive_remote`).
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ssmd_cli.environment import load_env_file, quiet_logs
from ssmd_common.errors import ConfigurationError, SsmdError

if TYPE_CHECKING:
    from ssmd_archive.bringing import Bringing
    from ssmd_cli.archive_remote import Remote

_LOCAL_ROOT: Final = Path(".ssmd") / "archive"
_S3: Final = ("s3:",)

_open: "dict[Path, Remote]" = {}
"""Archives that are read from a bucket now."""

Root = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The archive's directory, or s3://BUCKET/PREFIX to read it from there (with "
        "ARCHIVER_BUCKET_ENDPOINT and so on); by default ARCHIVER_ROOT, else that of `ssmd up`, "
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
EachStream = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Only SECMASTER_CDC, MARKET_DATA, or MARKET_BOOKS_0 and so on; else all there are.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


class FilesRefused(SsmdError):
    """The file system refuses what was asked of it."""


def remote_of(root: Path) -> "Remote | None":
    """The bucket that an archive is read from; None where it is a directory."""
    return _open.get(root)


@contextlib.contextmanager
def archive_at(root: Path | None, *, in_bucket: bool = False, writes: str = "") -> Iterator[Path]:
    """The archive's directory; what is in its bucket only can be read, too.

    `in_bucket`: the one in ARCHIVER_BUCKET, whatever the root. `writes` names a command that needs
    a directory of its own.

    Raises:
        ConfigurationError: it needs one, and a bucket was named; or settings of the bucket have
            faults.
        FilesRefused: what is done inside cannot be done there.
        NotArchived, BucketRefused, BucketUnreachable: the bucket has no archive, or gives nothing.
    """
    load_env_file()
    quiet_logs()
    found = root or Path(os.environ.get("ARCHIVER_ROOT") or _LOCAL_ROOT)
    is_bucket = in_bucket or found.parts[:1] == _S3
    if is_bucket and writes:
        raise ConfigurationError(
            f"`ssmd archive {writes}` needs a directory: name it by --root, and the bucket by "
            "ARCHIVER_BUCKET and ARCHIVER_BUCKET_PREFIX"
        )
    try:
        with contextlib.ExitStack() as stack:
            if is_bucket:
                from ssmd_cli.archive_remote import mirrored

                remote = stack.enter_context(mirrored(None if in_bucket else found.parts[1:]))
                found = remote.root
                _open[found] = remote
                stack.callback(_open.pop, found)
            elif os.environ.get("ARCHIVER_BUCKET"):
                stack.enter_context(_completed(found))
            yield found
    except (BrokenPipeError, TimeoutError):
        raise
    except OSError as error:
        raise FilesRefused(
            f"{error.filename or found}: {error.strerror}. Nothing that the archive had is lost: "
            "mend that, and run the command again"
        ) from error


@contextlib.contextmanager
def _completed(root: Path) -> Iterator[None]:
    """Files of a directory that are in the bucket only are brought; else nobody asks the bucket."""
    from ssmd_archive import away

    with contextlib.ExitStack() as stack:

        @functools.cache
        def opened() -> "Bringing":
            from ssmd_cli.archive_remote import bringing

            return stack.enter_context(bringing(root))

        with away.brought(root, lambda path: opened().bring(path)):
            yield
