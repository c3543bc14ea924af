"""What can go wrong in cdc. What is no `SsmdError` ends a session, and the next one begins."""

from ssmd_common.errors import SsmdError
from ssmd_common.exitcodes import ExitCode


class MalformedMessage(Exception):
    """Bytes from the replication protocol that do not follow it."""


class UnreadableValue(Exception):
    """A column's text that is not what its type writes."""


class SessionEnded(Exception):
    """The session cannot go on; the next one begins from the slot and the stream's tail.

    `cause` is a short word for metrics.
    """

    cause = "session"


class ReplicationEnded(SessionEnded):
    """PostgreSQL closed the replication connection, or it broke."""

    cause = "postgres"


class ServerReadOnly(SessionEnded):
    """PostgreSQL takes no writes: a standby that is not promoted, or set so."""

    cause = "read_only"


class SlotBusy(SessionEnded):
    """Another process streams from the slot."""

    cause = "slot_busy"


class SlotGone(SessionEnded):
    """The slot is missing or was invalidated: what it kept of the WAL is lost."""

    cause = "slot_gone"


class Fenced(SessionEnded):
    """The stream's tail is a message that this session did not send."""

    cause = "fenced"


class StreamChanged(SessionEnded):
    """The stream was made anew or lost messages at its end while the session ran."""

    cause = "stream_changed"


class WalDiverged(SessionEnded):
    """The WAL does not have the change that the stream ends with: it is not what was published."""

    cause = "wal_diverged"


class StreamRefused(SsmdError):
    """NATS cannot hold the stream as configured, or is too old."""

    exit_code = ExitCode.USAGE


class SlotRefused(SsmdError):
    """The slot or the publication cannot be made as configured."""

    exit_code = ExitCode.USAGE
