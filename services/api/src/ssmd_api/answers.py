"""What an operation may answer with, as OpenAPI describes it: each status, with its headers."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ssmd_api import asof, examples, problems
from ssmd_api.deprecation import Deprecated
from ssmd_api.examples import STREAMS
from ssmd_api.formats import MEDIA, Form
from ssmd_api.schemas import Schema, ref

_ERRORS: Final[Mapping[str, str]] = {
    "400": "A parameter or the body is unknown or has a bad value; it is named.",
    "401": "No key, or one that is wrong, expired or revoked.",
    "403": "The key lacks the scope.",
    "404": "There is no such thing.",
    "406": "Accept names no form that there is; `detail` names them.",
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
    "X-Ssmd-Cursor": {
        "description": "Where the next page begins, of a reply without an envelope.",
        "schema": {"type": "string"},
    },
    "X-Ssmd-Count": {
        "description": "With `count`, of a reply without an envelope: rows of the whole list.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-Ssmd-Contract": {
        "description": "The number of the contract that the API speaks.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "Vary": {
        "description": "What else of a request the reply goes by.",
        "required": True,
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
_OF_GOING: Final = ("Deprecation", "Sunset")
_OF_PAST: Final = (asof.AT, asof.NOT_RECORDED)
_ALWAYS: Final = ("X-Request-Id", "X-Ssmd-Version", "X-Ssmd-Contract")
_COUNTED: Final = (*_ALWAYS, "RateLimit", "RateLimit-Policy")
_OF_ERROR: Final[Mapping[str, tuple[str, ...]]] = {
    "401": (*_ALWAYS, "WWW-Authenticate"),
    "429": (*_COUNTED, "Retry-After"),
    "503": (*_COUNTED, "Retry-After"),
}


def components(*, going: bool = True) -> dict[str, dict[str, Any]]:
    """What the operations refer to: `responses` and `headers`, those of a route that will go only
    where there is one."""
    return {
        "responses": {status: _problem(status, text) for status, text in _ERRORS.items()},
        "headers": {
            name: header for name, header in _HEADERS.items() if going or name not in _OF_GOING
        },
    }


def errors(
    *, body: bool, missing: bool, gone: bool, reused: bool, formed: bool
) -> dict[str, Schema]:
    """Of an operation that has a body, may not find what it is asked for, may find it gone, or its
    Idempotency-Key used, or comes in several forms."""
    some = [*_OF_ALL, *(_OF_BODIES if body else ())]
    some += [
        status
        for status, is_so in (("404", missing), ("406", formed), ("410", gone), ("422", reused))
        if is_so
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
    rows: Schema | None = None,
) -> Schema:
    """A reply in JSON; one that may be `kept` has an ETag, one of the `past` says of when it is; a
    result that comes later stands `elsewhere`. `rows` are those of a list with other forms,
    too."""
    more = ["ETag", "Vary", "X-Ssmd-Source", "X-Ssmd-Age"] if kept else []
    more += ["Location"] if elsewhere else []
    content = {"application/json": {"schema": schema, "example": example}}
    if rows is not None:
        more += ["X-Ssmd-Cursor", "X-Ssmd-Count"]
        # As `format=array` has it, and by the name that Accept has for it.
        anything = [*schema["anyOf"], rows] if "anyOf" in schema else [schema, rows]
        content["application/json"]["schema"] = {"anyOf": anything}
        [shown] = [each for each in example.values() if isinstance(each, list)]
        for form, types in MEDIA.items():
            for media in types if form is not Form.JSON else ():
                content[media] = (
                    {"schema": rows, "example": shown}
                    if form is Form.ARRAY
                    else {"schema": {"type": "string"}, "example": STREAMS[media]}
                )
    return {
        "description": summary,
        "headers": _headers(
            *_COUNTED, *more, *(("Link",) if kept and paged else ()), *(_OF_PAST if past else ())
        ),
        "content": content,
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
                "schema": _STREAMED.get(each, {"type": "string"}),
                "example": STREAMS[each],
            }
            for each in media
        },
    }


_SERVER_SENT: Final[Schema] = {"description": "Events; `data` of each is a change as JSON."}
"""Before OpenAPI 3.2 nothing says whether the schema is of the stream or of each event."""

_STREAMED: Final[Mapping[str, Schema]] = {
    "text/event-stream": _SERVER_SENT,
    "application/json": {
        "anyOf": [
            {"type": "object", "description": "The list in one page."},
            {"type": "array", "items": {"type": "object"}},
        ]
    },
    "application/vnd.ssmd.array+json": {"type": "array", "items": {"type": "object"}},
}


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _problem(status: str, description: str) -> Schema:
    return {
        "description": description,
        "headers": _headers(*_OF_ERROR.get(status, _ALWAYS)),
        "content": {
            problems.CONTENT_TYPE: {"schema": ref("Problem"), "example": examples.problem(status)}
        },
    }
