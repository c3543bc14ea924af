"""What can go wrong in cdc. What is no `SsmdError` ends a session, and the next one begins."""

from typing import Final

from ssmd_common.errors import SsmdError
from ssmd_common.exitcodes import ExitCode


class MalformedMessage(Exception):
    """Bytes from the replication protocol that do not follow it."""


class UnreadableValue(Exception):
    """A column's text that is not what its type writes."""


class NotStored(Exception):
    """NATS answers, and does not store; the text says what it said and what to look at."""


_DOES_NOT_STORE: Final = "NATS does not store"
_WITHOUT_JETSTREAM: Final = "NATS runs without JetStream"
NOT_STORING: Final = (_DOES_NOT_STORE, _WITHOUT_JETSTREAM)
"""How the sentences begin that say so."""

_LOOK: Final = (
    "look at the disk of its store_dir, at its log, and at the limits of JetStream, of the account "
    "and of the stream"
)


def does_not_store(detail: str) -> str:
    """The sentence for an operator."""
    return f"{_DOES_NOT_STORE}: {detail}; {_LOOK}"


def without_jetstream(detail: str) -> str:
    """The sentence for a server whose JetStream is off."""
    return (
        f"{_WITHOUT_JETSTREAM} ({detail}): it turns it off when its disk is full, and on "
        f"again when it is restarted; {_LOOK}"
    )


class MayNot(Exception):
    """Our user at NATS lacks a right; the text names it."""


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
