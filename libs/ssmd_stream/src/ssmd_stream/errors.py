"""What can be the matter with a stream, for whoever reads it or publishes to it."""

from typing import Final

from ssmd_common.errors import SsmdError, UpstreamUnavailable
from ssmd_common.exitcodes import ExitCode


class StreamUnavailable(UpstreamUnavailable):
    """The stream does not exist, or NATS does not tell about it now; trying again may help."""


class MayNot(StreamUnavailable):
    """Our user at NATS lacks a right; the text names it."""


class ApiError(StreamUnavailable):
    """JetStream refused a request; `status` is as HTTP's, `code` its own and more exact."""

    def __init__(self, text: str, *, status: int, code: int, description: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.description = description

    @property
    def temporary(self) -> bool:
        return self.status in (500, 503)


class StreamMissing(ApiError):
    """There is no such stream."""


class StreamRefused(SsmdError):
    """NATS cannot hold the stream as configured, or is too old."""

    exit_code = ExitCode.USAGE


class StreamGap(Exception):
    """What comes next is not in the stream any more, or the stream ends before it.

    `lost` are the sequences that are gone, where it is known; reading can go on after them.
    """

    def __init__(self, text: str, lost: range | None = None) -> None:
        super().__init__(text)
        self.lost = lost


class ReaderBroken(Exception):
    """A reader lost a message, fell silent or was deleted: make a new one from where it was."""


class UnreadableMessage(SsmdError):
    """A message cannot be read; `reason` is a word for the metrics."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class PublishingEnded(Exception):
    """A publisher cannot go on: whoever made it looks at the stream and decides.

    `cause` is a short word for metrics.
    """

    cause = "publishing"


class Fenced(PublishingEnded):
    """Someone else published to the stream meanwhile."""

    cause = "fenced"


class StreamChanged(PublishingEnded):
    """The stream was made anew, or lost messages at its end, while it was published to."""

    cause = "stream_changed"


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
