"""Replies: JSON with a strong ETag, compressed for those who can read it."""

import hashlib
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

from aiohttp import web

from ssmd_api import rows
from ssmd_api.paging import Listed

Source = Literal["cache", "database"]

_WORTH_COMPRESSING_BYTES: Final = 1024


class Body:
    """JSON that may be sent more than once."""

    def __init__(self, data: bytes) -> None:
        self.data: Final = data

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:32]


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
    made = document if isinstance(document, Body) else Body(rows.encode(document))
    body, digest = made.data, made.digest
    compress = len(body) >= _WORTH_COMPRESSING_BYTES and accepts_gzip(
        request.headers.get("Accept-Encoding", "")
    )
    # A strong tag names bytes, and those of the compressed reply are others.
    tag = f"{digest}-gzip" if compress else digest
    response = web.Response(body=body, content_type="application/json")
    if _has_already(request, digest):
        response = web.Response(status=304)
    elif compress:
        response.enable_compression(web.ContentCoding.gzip)
    response.headers["ETag"] = f'"{tag}"'
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "private, no-cache"
    if source:
        response.headers["X-Ssmd-Source"] = source
    if age_seconds is not None:
        response.headers["X-Ssmd-Age"] = str(age_seconds)
    if next_cursor:
        following = request.rel_url.update_query(cursor=next_cursor)
        response.headers["Link"] = f'<{following.raw_path_qs}>; rel="next"'
    response.headers.update(headers or {})
    return response


def page(
    request: web.Request, name: str, found: Listed, age_seconds: int | None = None
) -> web.Response:
    """A page of a list whose rows are written already."""
    cursor = found.cursor
    body = b'{"%b":[%b],"cursor":%b}' % (name.encode(), found.rows, rows.encode(cursor))
    return reply(
        request, Body(body), source="database", age_seconds=age_seconds, next_cursor=cursor
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
    tags = request.if_none_match or () if request.method in ("GET", "HEAD") else ()
    return any(tag.value in ("*", digest, f"{digest}-gzip") for tag in tags)
