"""What an operation may answer with, as OpenAPI describes it: each status, with its headers."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ssmd_api import asof
from ssmd_api.deprecation import Deprecated
from ssmd_api.examples import STREAMS
from ssmd_api.schemas import Schema, ref

_ERRORS: Final[Mapping[str, str]] = {
    "400": "A parameter or the body is unknown or has a bad value; it is named.",
    "401": "No key, or one that is wrong, expired or revoked.",
    "403": "The key lacks the scope.",
    "404": "There is no such thing.",
    "408": "The body did not come within ten seconds.",
    "410": "The stream does not hold what comes next: take a new snapshot.",
    "413": "The body is larger than a megabyte.",
    "422": "The Idempotency-Key is that of another request.",
    "429": "The key's rate limit is used up, the address sent too many wrong keys, or as many "
    "streams or exports as allowed are open.",
    "500": "The API failed: a fault of it, and logged.",
    "503": "The database does not answer, or more is asked of it than it has connections for.",
}
_OF_ALL: Final = ("400", "401", "403", "429", "500", "503")
_OF_BODIES: Final = ("408", "413")

_HEADERS: Final[Mapping[str, Schema]] = {
    "X-Request-Id": {
        "description": "Yours if you sent one that is sane, else one of ours; it is in the log.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "X-Ssmd-Version": {
        "description": "The version of the API's program, as in `info.version`.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Deprecation": {
        "description": "Since when the route should not be used any more (RFC 9745).",
        "required": True,
        "schema": {"type": "string", "pattern": "^@[0-9]+$"},
    },
    "Sunset": {
        "description": "From when on the route will not be there (RFC 8594).",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "Requests that are left to the key, and seconds until all are.",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "Requests that the key may make in how many seconds.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which it is worth trying again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "How to send a key.",
        "required": True,
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "Of the body: sent as If-None-Match it spares the reply if it is the same.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Where the result will stand.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Link": {
        "description": 'The next page, as `<…>; rel="next"`.',
        "schema": {"type": "string"},
    },
    "X-Ssmd-Source": {
        "description": "What the rows were read from.",
        "schema": {"type": "string", "enum": ["cache", "database", "stream"]},
    },
    asof.AT: {
        "description": "With `as_of`: the moment that the reply is of.",
        "schema": {"type": "string", "format": "date-time"},
    },
    asof.NOT_RECORDED: {
        "description": "With `as_of`: what of the reply is not recorded, and null.",
        "schema": {"type": "string"},
    },
    "X-Ssmd-Age": {
        "description": "Seconds since the least fresh of the markets was observed; of market data,"
        " since what is shown was received.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_OF_PAST: Final = (asof.AT, asof.NOT_RECORDED)
_ALWAYS: Final = ("X-Request-Id", "X-Ssmd-Version")
_COUNTED: Final = (*_ALWAYS, "RateLimit", "RateLimit-Policy")
_OF_ERROR: Final[Mapping[str, tuple[str, ...]]] = {
    "401": (*_ALWAYS, "WWW-Authenticate"),
    "429": (*_COUNTED, "Retry-After"),
    "503": (*_COUNTED, "Retry-After"),
}


def components() -> dict[str, dict[str, Any]]:
    """What the operations refer to: `responses` and `headers`."""
    return {
        "responses": {status: _problem(status, text) for status, text in _ERRORS.items()},
        "headers": dict(_HEADERS),
    }


def errors(*, body: bool, missing: bool, gone: bool, reused: bool) -> dict[str, Schema]:
    """Of an operation that has a body, may not find what it is asked for, may find it gone, or its
    Idempotency-Key used."""
    some = [*_OF_ALL, *(_OF_BODIES if body else ())]
    some += [
        status for status, is_so in (("404", missing), ("410", gone), ("422", reused)) if is_so
    ]
    return {status: {"$ref": f"#/components/responses/{status}"} for status in sorted(some)}


def document(
    summary: str,
    schema: Schema,
    example: Any,
    *,
    kept: bool,
    paged: bool,
    past: bool,
    elsewhere: bool,
) -> Schema:
    """A reply in JSON; one that may be `kept` has an ETag, one of the `past` says of when it is; a
    result that comes later stands `elsewhere`."""
    more = ["ETag", "X-Ssmd-Source", "X-Ssmd-Age"] if kept else []
    more += ["Location"] if elsewhere else []
    return {
        "description": summary,
        "headers": _headers(
            *_COUNTED, *more, *(("Link",) if kept and paged else ()), *(_OF_PAST if past else ())
        ),
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def going(mark: Deprecated) -> Schema:
    """The headers of a route that will go."""
    return _headers("Deprecation", *(("Sunset",) if mark.sunset else ()))


def unchanged() -> Schema:
    """The reply to an If-None-Match that names what there is."""
    return {
        "description": "It is what If-None-Match names.",
        "headers": _headers(*_COUNTED, "ETag"),
    }


def nothing(summary: str) -> Schema:
    return {"description": summary, "headers": _headers(*_COUNTED)}


def stream(summary: str, media: Iterable[str], *, past: bool) -> Schema:
    """A reply of lines, in one of the media types; one of the `past` as above."""
    return {
        "description": summary,
        "headers": _headers(*_COUNTED, *(_OF_PAST if past else ())),
        "content": {
            each: {
                "schema": _SERVER_SENT if each == "text/event-stream" else {"type": "string"},
                "example": STREAMS[each],
            }
            for each in media
        },
    }


_SERVER_SENT: Final[Schema] = {"description": "Events; `data` of each is a change as JSON."}
"""Before OpenAPI 3.2 nothing says whether the schema is of the stream or of each event."""


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _problem(status: str, description: str) -> Schema:
    return {
        "description": description,
        "headers": _headers(*_OF_ERROR.get(status, _ALWAYS)),
        "content": {"application/problem+json": {"schema": ref("Problem")}},
    }
