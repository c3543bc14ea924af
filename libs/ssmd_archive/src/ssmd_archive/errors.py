"""What can be the matter with an archive."""

from pathlib import Path

from ssmd_common.errors import SsmdError
from ssmd_common.exitcodes import ExitCode


class ArchiveDamaged(SsmdError):
    """Files of the archive say what no writer of ours leaves, whatever ended it."""


class UnreadableLine(ArchiveDamaged):
    """A line is not of the form that the format asks for."""


class SyncFailed(SsmdError):
    """What was written may not be on the disk, and a second try would not tell: the process ends,
    and the next one looks at what is there.
    """


class ArchiveLocked(SsmdError):
    """Another process writes to the archive; `holder` is what it says of itself."""

    def __init__(self, root: Path, holder: str) -> None:
        super().__init__(
            f"{root} is locked by {holder}: one process writes to an archive, end that one first"
        )
        self.holder = holder


class NoArchive(SsmdError):
    """There is no archive where one was looked for."""

    exit_code = ExitCode.NOT_FOUND


class NotArchived(SsmdError):
    """What was asked for is in no file of the archive."""

    exit_code = ExitCode.NOT_FOUND


class CertificateUnreadable(SsmdError):
    """A file is no certificate, or was changed since it was written."""


class BucketRefused(SsmdError):
    """The store refuses what was asked of it, until somebody changes something."""

    exit_code = ExitCode.USAGE


class BucketUnreachable(SsmdError):
    """The store did not answer, or could not do it now: later it may."""

    exit_code = ExitCode.UPSTREAM


class ForeignArchive(SsmdError):
    """The bucket has another archive under the same names."""


class InBucket(SsmdError):
    """Files that are needed were deleted here, after they had been uploaded."""

    exit_code = ExitCode.NOT_FOUND
