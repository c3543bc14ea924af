"""What can go wrong for a program that uses the secmaster: one exception for each kind of problem.

The kinds are those of the API's problem documents (docs/api.md, "Errors").
"""

from collections.abc import Mapping
from typing import Any, Final


class SecmasterError(Exception):
    """Every error of this library; its text is one sentence for a person."""


# Before there is an answer of the API.


class Unreachable(SecmasterError):
    """Nothing answers at the URL, also after the tries that the policy allows."""


class NotTheApi(SecmasterError):
    """What answers at the URL is not the secmaster's API."""


class ServerTooOld(SecmasterError):
    """The server speaks an earlier contract than this client needs."""


class BrokenOff(SecmasterError):
    """A long reply ended before its end: what came is not all."""


# What the API answers.


class Problem(SecmasterError):
    """A problem document. `status` is HTTP's, `kind` the document's own word, `request_id` names
    the request in the server's log, `retry_after_seconds` is what the server asks for."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        kind: str,
        request_id: str | None = None,
        errors: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.request_id = request_id
        self.errors = dict(errors or {})
        """By parameter, what is wrong with it."""
        self.retry_after_seconds = retry_after_seconds


class BadParameter(Problem):
    """A parameter is unknown or has a bad value: `errors` names each."""


class Unauthorized(Problem):
    """There is no such API key, or it was revoked or has expired."""


class Forbidden(Problem):
    """The API key lacks the scope."""


class NotFound(Problem):
    """There is no such market, event, series, tier or path."""


class MarketNotFound(NotFound):
    """There is no such market, or the exchange knows it no more."""

    def __init__(self, ticker: str, detail: str | None = None, **problem: Any) -> None:
        problem = {"status": 404, "kind": "not-found", **problem}
        super().__init__(detail or f"there is no market {ticker!r}", **problem)
        self.ticker = ticker


class RequestTimeout(Problem):
    """The request did not reach the API in time."""


class TooLarge(Problem):
    """The body of the request is too large."""


class StreamGone(Problem):
    """The change stream does not hold what comes next: begin with a new snapshot."""


class TooManyRequests(Problem):
    """The key's limit is used up."""


class Overloaded(Problem):
    """More is asked of the API than it has connections to PostgreSQL."""


class Unavailable(Problem):
    """A server behind the API is away."""


class Internal(Problem):
    """A fault of the API; `request_id` finds it in the server's log."""


PROBLEMS: Final[Mapping[str, type[Problem]]] = {
    "bad-parameter": BadParameter,
    "bad-request": BadParameter,
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "not-found": NotFound,
    "request-timeout": RequestTimeout,
    "request-entity-too-large": TooLarge,
    "stream-gone": StreamGone,
    "too-many-requests": TooManyRequests,
    "overloaded": Overloaded,
    "unavailable": Unavailable,
    "internal": Internal,
}
"""By the last part of a document's type."""


# What this library itself refuses.


class NotLoaded(SecmasterError, AttributeError):
    """A column was left out of this row: `fields=` or `exclude=` said so, or a live view does."""


class Missing(SecmasterError, ImportError):
    """A library that this needs is not installed; the text says how to install it."""


class MarketNotActive(SecmasterError):
    """The market exists and does not trade; `status` is what it is instead."""

    def __init__(self, ticker: str, status: str) -> None:
        super().__init__(f"market {ticker!r} is {status}, not active")
        self.ticker = ticker
        self.status = status


class Closed(SecmasterError):
    """The live view has ended: `async with` is left, or it could not go on."""
