"""Errors as RFC 9457 problem documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

CONTENT_TYPE: Final = "application/problem+json"
NOT_CAPTURED: Final = "not-captured"
_PHRASES: Final = {413: "Request Entity Too Large"}
"""Those that have another name in later versions of Python: programs go by `type`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One parameter and what is wrong with it."""

    parameter: str
    detail: str


@dataclass(slots=True, eq=False)
class Problem(Exception):
    """Raised by a handler; the middleware turns it into the reply.

    `kind` is the last part of the document's type (`urn:ssmd:problem:<kind>`), stable for programs.
    """

    status: int
    kind: str
    title: str
    detail: str
    faults: Sequence[Fault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    closes: bool = False
    """Whether nothing behind this request on its connection can be told from it."""


def bad_parameters(faults: Sequence[Fault]) -> Problem:
    """400 that names each bad parameter."""
    detail = "; ".join(f"{fault.parameter}: {fault.detail}" for fault in faults)
    return Problem(
        400, "bad-parameter", "A parameter is unknown or has a bad value", detail, faults
    )


def not_found(what: str, name: str) -> Problem:
    return Problem(404, "not-found", f"No such {what}", f"no {what} is called {name!r}")


def not_captured(detail: str) -> Problem:
    return Problem(404, NOT_CAPTURED, "No such market data are captured", detail)


def unauthorized(detail: str) -> Problem:
    return Problem(
        401,
        "unauthorized",
        "A valid API key is required",
        detail,
        headers={"WWW-Authenticate": 'Bearer realm="ssmd"'},
    )


def forbidden(scope: str) -> Problem:
    return Problem(
        403, "forbidden", "The API key may not do this", f"this needs a key with scope {scope!r}"
    )


def too_many(title: str, detail: str, retry_after_seconds: int) -> Problem:
    return Problem(
        429, "too-many-requests", title, detail, headers={"Retry-After": str(retry_after_seconds)}
    )


def unavailable(detail: str) -> Problem:
    return Problem(
        503, "unavailable", "Something behind the API is away", detail, headers={"Retry-After": "2"}
    )


def overloaded(detail: str) -> Problem:
    """503 that no server behind the API is to blame for."""
    return Problem(503, "overloaded", "The API is overloaded", detail, headers={"Retry-After": "2"})


def from_status(status: int, detail: str, headers: Mapping[str, str]) -> Problem:
    """A problem for what the HTTP library itself refuses: an unknown path, a wrong method."""
    phrase = _PHRASES.get(status) or HTTPStatus(status).phrase
    return Problem(status, phrase.lower().replace(" ", "-"), phrase, detail, headers=headers)


def response(problem: Problem, request_id: str, path: str) -> web.Response:
    """The reply that carries a problem."""
    document: dict[str, Any] = {
        "type": f"urn:ssmd:problem:{problem.kind}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": path,
        "request_id": request_id,
    }
    if problem.faults:
        document["errors"] = [
            {"parameter": fault.parameter, "detail": fault.detail} for fault in problem.faults
        ]
    reply = web.Response(
        status=problem.status,
        body=msgspec.json.encode(document),
        content_type=CONTENT_TYPE,
        headers={**problem.headers, "Cache-Control": "no-store"},
    )
    if problem.closes:
        reply.force_close()
    return reply
