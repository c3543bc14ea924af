"""Replies: JSON with a strong ETag, compressed for those who can read it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import quote, unquote_plus

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from ssmd_api import asof, context, rows
from ssmd_api.document import Answer, Body
from ssmd_api.freshness import age_of
from ssmd_api.paging import Listed

Source = Literal["cache", "database", "stream"]

_WORTH_COMPRESSING_BYTES: Final = 1024
_AGE: Final = istr("X-Ssmd-Age")


def answer(
    request: web.Request,
    document: Any,
    source: Source,
    as_of: datetime | None = None,
    next_cursor: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """What is sent of a document, or of its `Body`."""
    return Answer(_body(document), _headers(request, source, next_cursor, headers), as_of)


def page(
    request: web.Request,
    name: str,
    found: Listed,
    as_of: datetime | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """A page of a list whose rows are written already."""
    cursor = found.cursor
    count = b"" if found.count is None else b',"count":%d' % found.count
    body = b'{"%b":[%b],"cursor":%b%b}' % (name.encode(), found.rows, rows.encode(cursor), count)
    return answer(request, Body(body), "database", as_of, cursor, headers)


async def recent(
    request: web.Request, read: Callable[[web.Request], Awaitable[Answer]]
) -> web.Response:
    """The answer that `read` finds, or found a moment ago for a request with the same path and
    parameters, letter by letter: it goes by nothing else."""
    found = await context.of(request).recent.get(request.raw_path, lambda: read(request))
    compress = _to_compress(request, found.body)
    if compress:
        await found.body.compress()
    age = age_of(found.as_of, datetime.now(UTC))
    return _response(request, found.body, found.headers, age, compress=compress)


def reply(
    request: web.Request,
    document: Any,
    *,
    source: Source | None = None,
    age_seconds: int | None = None,
    next_cursor: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A document, or its `Body`; or 304 if the client has it already.

    The ETag is of the body alone: a row reads the same from the cache and from the database.
    """
    body = _body(document)
    headers = _headers(request, source, next_cursor, headers)
    return _response(request, body, headers, age_seconds, compress=_to_compress(request, body))


def _body(document: Any) -> Body:
    return document if isinstance(document, Body) else Body(rows.encode(document))


def _headers(
    request: web.Request,
    source: Source | None,
    next_cursor: str | None,
    more: Mapping[str, str] | None,
) -> CIMultiDict[str]:
    headers = CIMultiDict(
        {"Vary": "Accept-Encoding", "Cache-Control": "private, no-cache", **(more or {})}
    )
    if source:
        headers["X-Ssmd-Source"] = source
    if next_cursor:
        changed = {"cursor": next_cursor}
        if at := headers.get(asof.AT):
            # How long ago that is changes from page to page.
            changed["as_of"] = at
        headers["Link"] = f'<{_with(request.raw_path, changed)}>; rel="next"'
    return headers


def _with(asked: str, changed: Mapping[str, str]) -> str:
    """A path with its query, some parameters of which are changed."""
    path, _, query = asked.partition("?")
    pairs = [
        pair
        for pair in query.split("&")
        if pair and unquote_plus(pair.partition("=")[0]) not in changed
    ]
    pairs += [f"{name}={quote(value, safe=':')}" for name, value in changed.items()]
    return f"{path}?{'&'.join(pairs)}"


def _response(
    request: web.Request,
    body: Body,
    headers: Mapping[str, str],
    age_seconds: int | None,
    *,
    compress: bool,
) -> web.Response:
    # A strong tag names bytes, and those of the compressed reply are others.
    tag = f'"{body.digest}-gzip"' if compress else f'"{body.digest}"'
    if _has_already(request, body.digest):
        response = web.Response(status=304, headers=headers)
    else:
        gzipped = body.gzipped if compress else None
        response = web.Response(body=gzipped or body.data, headers=headers)
        response.headers[hdrs.CONTENT_TYPE] = "application/json"
        if gzipped:
            response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        elif compress:
            response.enable_compression(web.ContentCoding.gzip)
    response.headers[hdrs.ETAG] = tag
    if age_seconds is not None:
        response.headers[_AGE] = str(age_seconds)
    return response


def _to_compress(request: web.Request, body: Body) -> bool:
    return len(body.data) >= _WORTH_COMPRESSING_BYTES and accepts_gzip(
        request.headers.get(hdrs.ACCEPT_ENCODING, "")
    )


def private(document: Any, status: int = 200) -> web.Response:
    """A document that nobody may keep."""
    return web.Response(
        status=status,
        body=rows.encode(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


@lru_cache(maxsize=100)
def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding allows gzip."""
    weights = {}
    for part in header.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        weights[coding] = weight.strip("0.") != ""
    return weights.get("gzip", weights.get("*", False))


def _has_already(request: web.Request, digest: str) -> bool:
    if hdrs.IF_NONE_MATCH not in request.headers or request.method not in ("GET", "HEAD"):
        return False
    tags = request.if_none_match or ()
    return any(tag.value in ("*", digest, f"{digest}-gzip") for tag in tags)
