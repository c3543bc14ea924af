"""What can go wrong in cdc beside what `ssmd_stream.errors` has.

What is no `SsmdError` ends a session, and the next one begins.
"""

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


class OtherServer(SessionEnded):
    """DATABASE_URL leads to another server than the one that the slot is read on."""

    cause = "other_server"


class MarksMissing(SessionEnded):
    """Marks were written to the WAL, and do not come back through the slot."""

    cause = "marks_missing"


class SlotBusy(SessionEnded):
    """Another process streams from the slot."""

    cause = "slot_busy"


class SlotGone(SessionEnded):
    """The slot is missing or was invalidated: what it kept of the WAL is lost."""

    cause = "slot_gone"


class SlotUnreadable(SessionEnded):
    """PostgreSQL cannot decode the WAL that the slot keeps, however often it is asked."""

    cause = "slot_unreadable"


class WalDiverged(SessionEnded):
    """The WAL does not have the change that the stream ends with: it is not what was published."""

    cause = "wal_diverged"


class SlotRefused(SsmdError):
    """The slot or the publication cannot be made as configured."""

    exit_code = ExitCode.USAGE
