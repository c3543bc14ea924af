"""What can be the matter with a stream, for whoever reads it."""

from ssmd_common.errors import SsmdError, UpstreamUnavailable


class StreamUnavailable(UpstreamUnavailable):
    """The stream does not exist, or NATS does not tell about it now."""


class StreamMissing(StreamUnavailable):
    """There is no such stream."""


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
