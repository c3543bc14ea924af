"""Every way in which the exchange, or the way we ask it, can fail: one class, one sentence each.

Two branches matter to a caller. A `TransientError` may be gone on another day (the client has
already retried it within its policy); every other `KalshiError` stays until somebody changes
something. No message ever contains a key, a signature or a whole reply.
"""

from __future__ import annotations

from ssmd_common import errors as common
from ssmd_common.exitcodes import ExitCode

EXCERPT_CHARACTERS = 200


def excerpt(text: str | bytes, limit: int = EXCERPT_CHARACTERS) -> str:
    """The beginning of a reply, printable and bounded, for an error or a log field."""
    if isinstance(text, bytes):
        text = text[: limit * 4].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else " " for c in text[:limit])
    return shown if len(text) <= limit else shown + "…"


class KalshiError(common.SsmdError):
    """Base of everything that this package raises on purpose."""


class ConfigurationError(KalshiError, common.ConfigurationError):
    """The client cannot work as configured (URL, budget, key): the sentence says what to change."""

    exit_code = ExitCode.USAGE


class KeyFileError(ConfigurationError):
    """The private key file is absent, unreadable, or not an RSA or Ed25519 key in PEM."""


class ForbiddenFilterError(KalshiError):
    """A combination of filters that the exchange mishandles; nothing was sent."""

    exit_code = ExitCode.USAGE


class InterruptedWaitError(KalshiError):
    """The stop event was set while the client waited for its budget or for a retry."""


# --- replies that say no --------------------------------------------------------------------------


class ReplyError(KalshiError):
    """An error status; `status`, `endpoint` and the exchange's own words are kept."""

    def __init__(self, endpoint: str, status: int, said: str, advice: str) -> None:
        self.endpoint = endpoint
        self.status = status
        self.said = said
        super().__init__(
            f"{endpoint}: the exchange answered {status} ({said or 'no text'}): {advice}"
        )


class BadRequestError(ReplyError):
    """400: a parameter is wrong; retrying cannot help."""


class NotAuthorizedError(ReplyError):
    """401 or 403: the key, its signature or the clock of this machine is wrong."""


class NotFoundError(ReplyError):
    """404: the exchange does not know this ticker (or not yet, just after `created`)."""

    exit_code = ExitCode.NOT_FOUND


class RefusedError(ReplyError):
    """Any other 3xx or 4xx status that the specification does not foresee."""


# --- what may pass ------------------------------------------------------------------------------


class TransientError(KalshiError):
    """Something that may work later; raised only after the retry policy is exhausted."""

    exit_code = ExitCode.UPSTREAM


class RateLimitedError(ReplyError, TransientError):
    """429: the read budget of this key or address is spent; `retry_after_seconds` when told."""

    def __init__(
        self,
        endpoint: str,
        status: int,
        said: str,
        advice: str,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(endpoint, status, said, advice)
        self.retry_after_seconds = retry_after_seconds


class ServerFaultError(ReplyError, TransientError):
    """5xx: the exchange or something in front of it failed."""


class UnreachableError(TransientError):
    """No connection: name resolution, refusal, TLS, or a reset before the reply began."""


class AttemptTimeoutError(TransientError):
    """One attempt did not finish within its deadline."""


class DeadlineError(TransientError):
    """All attempts together did not finish within the total deadline; the cause is the last one."""


class BrokenReplyError(TransientError):
    """A reply that ended early, is not JSON, or is JSON of another shape than the endpoint's."""


class PageError(TransientError):
    """A paged listing that cannot be trusted to be complete; start the scan again later."""


class CursorLoopError(PageError):
    """A page gave a cursor that this scan has already followed."""


class RepeatedPageError(PageError):
    """A page with exactly the rows of an earlier page of the same scan."""


class EmptyPageError(PageError):
    """More pages without rows that nevertheless name a next page than any listing can have."""


# --- values -------------------------------------------------------------------------------------


class BadFieldError(KalshiError):
    """A row without a readable ticker, or a step of a fee schedule with an unreadable field."""

    def __init__(self, field: str, value: object, why: str) -> None:
        self.field = field
        super().__init__(f"{field} is {excerpt(repr(value), 80)}: {why}")


# --- WebSocket ----------------------------------------------------------------------------------


class HandshakeRefusedError(KalshiError):
    """The WebSocket handshake was refused with 401 or 403: check the key and the clock."""


class SubscribeRefusedError(KalshiError):
    """The exchange refused a subscription for a reason that another attempt will not change."""

    def __init__(self, channel: str, code: int, said: str) -> None:
        self.channel = channel
        self.code = code
        super().__init__(
            f"the exchange refused the channel {channel} with code {code} ({said}): "
            "check the channel's name and what the key may read"
        )
