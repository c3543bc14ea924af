"""What can be the matter with an archive."""

from ssmd_common.errors import SsmdError


class ArchiveDamaged(SsmdError):
    """Files of the archive say what no writer of ours leaves, whatever ended it."""


class UnreadableLine(ArchiveDamaged):
    """A line is not of the form that the format asks for."""
