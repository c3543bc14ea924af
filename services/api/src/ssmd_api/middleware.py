"""Around every request: its id, its key and limit, its metrics and its line in the log, and errors
as problem documents.
"""

import random
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Final, cast
from urllib.parse import unquote_plus, unquote_to_bytes

import psycopg
import structlog
from aiohttp import web
from multidict import istr
from prometheus_client import Counter, Histogram
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

from ssmd_api import context, problems
from ssmd_api.auth import presented
from ssmd_api.context import Context
from ssmd_api.database import Overloaded, queries_run
from ssmd_api.forms import MAX_TEXT
from ssmd_api.keystore import Actor, StoredKey
from ssmd_api.metrics import IN_PROGRESS, REFUSED, REQUESTS, SECONDS
from ssmd_api.problems import Fault, Problem
from ssmd_api.ratelimit import Verdict
from ssmd_api.turns import caller
from ssmd_common import apikeys, contract, logs
from ssmd_common.apikeys import ParsedKey
from ssmd_common.connections.retry import first_line
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.httpserver import Handler
from ssmd_common.metrics import ERRORS, WORK

log = structlog.get_logger(__name__)


PROBLEM_PAGE: Final = web.AppKey[Callable[[web.Request, Problem], web.Response | None]](
    "problem page"
)
"""Answers a problem to people, where an application has such; None where a program asks."""


@dataclass(slots=True, eq=False)
class _Known:
    """What is known of a request."""

    request_id: str
    began: float
    route: str = "unmatched"
    """Known once it is answered, or its reply begins."""
    key: StoredKey | None = None
    text: str | None = None
    """The key's, as it was presented."""
    limit: Verdict | None = None
    started: bool = False
    """Whether the head of its reply is sent."""

    def headers(self) -> dict[str, str]:
        """What every reply says."""
        return {**_OF_ALL, _REQUEST_ID: self.request_id}


_KNOWN: Final = web.RequestKey("known", _Known)
_IDS: Final = random.Random()  # noqa: S311 - they need only differ
# Names of headers that every request and reply has are made fit to be looked up once.
_REQUEST_ID: Final = istr("X-Request-Id")
_OF_ALL: Final[dict[str, str]] = {
    istr("X-Content-Type-Options"): "nosniff",
    istr("Server"): "ssmd",
    istr("X-Ssmd-Version"): version("ssmd-api"),
    istr(contract.HEADER): str(contract.CONTRACT),
}
_bound_id: Final[ContextVar[str]] = ContextVar(f"{STRUCTLOG_KEY_PREFIX}request_id")
"""As `bind_contextvars` has it, without its looking it up for each request."""
_being_answered: Final[set[_Known]] = set()
IN_PROGRESS.set_function(lambda: len(_being_answered))
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_CLIENT_GONE: Final = 499
_PROBES: Final = ("/livez", "/readyz", "/metrics")


async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count and time a request, and answer every error with a problem document.

    What is logged meanwhile bears the request's id.
    """
    known = _begin(request)
    status = 500
    _being_answered.add(known)
    # A request's context is its own: nothing is left of it afterwards.
    _bound_id.set(known.request_id)
    try:
        response = await _answered(request, handler)
        status = response.status
        if not _is_routed(request):
            # There `add_headers` would have been called.
            response.headers.update(known.headers())
        return response
    finally:
        _being_answered.discard(known)
        known.route = route_template(request)
        method = request.method if known.route != "unmatched" else "any"
        count, seconds = _metrics(known.route, method, status)
        count.inc()
        seconds.observe(time.perf_counter() - known.began)
        if status < 500 and known.route not in _PROBES:
            WORK.inc()


@lru_cache(maxsize=1000)
def _metrics(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """Looking these up costs more than counting."""
    return REQUESTS.labels(route, method, status), SECONDS.labels(route)


def refuse(request: web.BaseRequest, status: int, why: str) -> web.Response:
    """The reply to what the HTTP library refuses before it is a request: `Edge.refuse`."""
    request = cast(web.Request, request)
    known = request.get(_KNOWN) or _begin(request)
    response = problems.response(
        problems.from_status(status, why, {}), known.request_id, request.path
    )
    response.headers.update(known.headers())
    return response


def answered(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """The request's line in the log: `Edge.answered`."""
    known = cast(web.Request, request)[_KNOWN]
    fields = {
        "method": request.method,
        "route": known.route,
        "status": response.status,
        "bytes": request.writer.output_size,
        "milliseconds": round((time.perf_counter() - known.began) * 1000, 1),
        "key_id": known.key and known.key.id,
        "request_id": known.request_id,
    }
    if known.route in _PROBES:
        log.debug("request answered", **fields)
    else:
        logs.often(log, "request answered", fields)


def request_id(request: web.Request) -> str:
    """What names this request, in its reply and in the log."""
    return request[_KNOWN].request_id


def actor(request: web.Request) -> Actor:
    """Who asks, for the trail of what was done with keys."""
    key = request[_KNOWN].key
    assert key is not None
    trust = context.of(request).settings.api_trust_forwarded_for
    return Actor(key.name, key.id, client_address(request, trust=trust), request_id(request))


def _begin(request: web.Request) -> _Known:
    began, given = time.perf_counter(), request.headers.get(_REQUEST_ID)
    sane = given is not None and _SANE_ID.fullmatch(given)
    name = given if given and sane else f"{_IDS.getrandbits(128):032x}"
    known = request[_KNOWN] = _Known(name, began)
    return known


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal before a reply's headers are sent: its request id and what is left of the limit,
    which pages may read it, and whether its route will go."""
    known = request[_KNOWN]
    known.started = True
    known.route = route_template(request)
    headers = known.headers()
    if known.limit is not None:
        headers.update(known.limit.headers())
    response.headers.update(headers)
    service = context.of(request)
    service.origins.add_headers(request, response.headers)
    if mark := service.deprecated.get(known.route):
        mark.add_headers(response.headers)


def guarded(scope: str, handler: Handler, service: Context) -> Handler:
    """`handler` for those whose key has `scope` and requests left."""

    async def guard(request: web.Request) -> web.StreamResponse:
        known = request[_KNOWN]
        key = await admit(request, presented(request.headers), scope, service)
        before = queries_run()
        response = await handler(request)
        if response.status == 304 and queries_run() == before:
            known.limit = service.limiter.give_back(
                str(key.id), key.rate_limit_per_minute, time.monotonic_ns()
            )
        return response

    return guard


async def admit(request: web.Request, text: str | None, scope: str, service: Context) -> StoredKey:
    """The key with this text, which has `scope` and a request left: the request counts as its.

    Raises:
        Problem: 401, 403, 429 (`Authenticator.authenticate`, and where none is left).
    """
    known = request[_KNOWN]
    key = known.key = await service.authenticator.authenticate(
        text, lambda: client_address(request, trust=service.settings.api_trust_forwarded_for), scope
    )
    known.text = text
    name = str(key.id)
    caller.set(name)
    limit = service.limiter.take(name, key.rate_limit_per_minute, time.monotonic_ns())
    known.limit = limit
    if not limit.allowed:
        REFUSED.labels("rate_limit").inc()
        raise problems.too_many(
            "Too many requests",
            f"this key may make {limit.limit} requests a minute",
            limit.retry_after_seconds,
        )
    return key


def reader(request: web.Request) -> StoredKey | None:
    """The key of an admitted request."""
    return request[_KNOWN].key


def parsed_key(request: web.Request) -> ParsedKey:
    """The key that an admitted request came with."""
    key = apikeys.parse(request[_KNOWN].text or "")
    assert key is not None
    return key


def method_not_allowed(allowed: set[str]) -> Handler:
    """Answers every other method of a path."""

    async def refused(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, sorted(allowed))

    return refused


def client_address(request: web.Request, *, trust: bool) -> str:
    """Who asks; with `trust`, as the nearest proxy saw it."""
    if trust:
        forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        if forwarded:
            return forwarded[:64]
    return request.remote or "unknown"


def _is_routed(request: web.Request) -> bool:
    """Whether it came to a route, if only that of what is not found: not so where its path cannot
    be read. Without, it has no application."""
    return request._match_info is not None  # noqa: SLF001


def route_template(request: web.Request) -> str:
    # Nothing matched what is no request.
    found = request._match_info  # noqa: SLF001
    resource = None if found is None else found.route.resource
    return resource.canonical if resource else "unmatched"


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        _require_utf8(request)
        return await handler(request)
    except Problem as problem:
        return _reply(request, problem)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {"Allow": allow} if (allow := error.headers.get("Allow")) else {}
        lists = "; /docs lists what is here" if error.status == HTTPStatus.NOT_FOUND else ""
        detail = f"{request.method} {request.path}: {error.reason}{lists}"
        return _reply(request, problems.from_status(error.status, detail, headers))
    except ConnectionError:
        # The client is gone: nobody reads this, but the metrics count it.
        return web.Response(status=_CLIENT_GONE)
    except UpstreamUnavailable as error:
        ERRORS.labels("nats").inc()
        return _reply(request, problems.unavailable(f"the change stream cannot be read: {error}"))
    except psycopg.errors.QueryCanceled:
        ERRORS.labels("statement_timeout").inc()
        return _reply(request, problems.unavailable("the query took too long: narrow its filters"))
    except Overloaded as error:
        REFUSED.labels("overloaded").inc()
        return _reply(request, problems.overloaded(f"{error}: try again"))
    except psycopg.OperationalError as error:
        ERRORS.labels("postgres").inc()
        log.warning("postgresql does not answer", error=first_line(error))
        return _reply(request, problems.unavailable("PostgreSQL cannot be reached: try again"))
    except psycopg.errors.ReadOnlySqlTransaction:
        ERRORS.labels("postgres").inc()
        return _reply(request, problems.unavailable("PostgreSQL is read-only: try again"))
    except psycopg.DataError as error:
        # What got past our own checks, such as a forged cursor.
        log.info("value refused by postgresql", error=first_line(error))
        return _reply(
            request,
            Problem(400, "bad-parameter", "A value is refused", "a value has the wrong form"),
        )
    except Exception as error:
        ERRORS.labels("crash").inc()
        log.exception("request failed", kind=type(error).__name__)
        return _reply(
            request,
            Problem(500, "internal", "The API failed", "this is a fault of the API, and logged"),
        )


def _require_utf8(request: web.Request) -> None:
    """Percent-encoded bytes that are no UTF-8 would pass as the text that they are written with."""
    if "%" not in request.raw_path:
        return
    path, _, query = request.raw_path.partition("?")
    if not _is_utf8(path):
        raise Problem(400, "bad-request", "Bad Request", "the path is not UTF-8")
    pairs = [pair for pair in query.split("&") if not _is_utf8(pair)]
    if pairs:
        names = dict.fromkeys(unquote_plus(pair.partition("=")[0])[:MAX_TEXT] for pair in pairs)
        raise problems.bad_parameters([Fault(name, "is not UTF-8") for name in names])


def _is_utf8(encoded: str) -> bool:
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return False
    return True


def _reply(request: web.Request, problem: Problem) -> web.Response:
    if request[_KNOWN].started and request.transport is not None:
        # A stream broke off: its end must not look like one.
        log.warning("stream broken off", route=route_template(request), reason=problem.kind)
        request.transport.abort()
    show = request.app.get(PROBLEM_PAGE) if _is_routed(request) else None
    page = show(request, problem) if show is not None else None
    return page or problems.response(problem, request_id(request), request.path)
