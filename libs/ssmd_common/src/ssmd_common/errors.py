"""Errors that end a service or a command: each says in one sentence what to do."""

from ssmd_common.exitcodes import ExitCode


class SsmdError(Exception):
    """The last sentence an operator reads; `exit_code` is what the process ends with."""

    exit_code = ExitCode.FAILED


class ConfigurationError(SsmdError):
    """The configuration has faults; all of them are named, and nothing was opened."""

    exit_code = ExitCode.USAGE


class UpstreamUnavailable(SsmdError):
    """A server that the process cannot work without did not answer within its budget."""

    exit_code = ExitCode.UPSTREAM


class StopRequested(SsmdError):
    """The service was asked to stop while it waited for a server."""

    exit_code = ExitCode.OK


class LeadershipLost(SsmdError):
    """The advisory lock's connection is gone, so another replica may lead by now."""


class ClockDiffers(SsmdError):
    """Our clock and PostgreSQL's are too far apart to stamp anything by ours."""

    exit_code = ExitCode.UPSTREAM


class MalformedTicker(SsmdError):
    """A ticker's text has none of the known forms."""


class MalformedTime(SsmdError):
    """A time's text has none of the known forms."""
