"""What can go wrong with the development servers: one sentence each, and what to do."""

from ssmd_common.errors import SsmdError
from ssmd_common.exitcodes import ExitCode


class StackError(SsmdError):
    """A development server or the system around it could not be started, reached or stopped."""


class BinaryMissing(StackError):
    """A server's binary is not installed on this machine."""


class PortInUse(StackError):
    """The port that was asked for belongs to another process."""

    exit_code = ExitCode.USAGE


class ServerFailed(StackError):
    """A server ended, or did not become ready in time; the message quotes the end of its log."""


class AccountUnusable(StackError):
    """This account cannot run PostgreSQL, and no other account was found that can."""


class DirectoryInUse(StackError):
    """Another system runs in the directory."""


class DirectoryUnusable(StackError):
    """The directory cannot be made or written by this user."""


class NotReady(StackError):
    """A part of the system did not become ready in time; the message says which, and why."""
