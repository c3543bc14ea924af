"""Replies with a strong ETag, compressed for those who can read it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote, unquote_plus

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from ssmd_api import asof, codings, context, formats, rows
from ssmd_api.asked import Asked
from ssmd_api.codings import CODINGS, Coding, compressed
from ssmd_api.document import Answer, Body
from ssmd_api.formats import Chosen, Form
from ssmd_api.freshness import age_of
from ssmd_api.paging import Listed
from ssmd_api.shapes import Shape
from ssmd_api.tabular import Written

Source = Literal["cache", "database", "stream"]

_WORTH_COMPRESSING_BYTES: Final = 1024
CURSOR: Final = "X-Ssmd-Cursor"
COUNT: Final = "X-Ssmd-Count"
"""What other forms than an envelope have in a header."""
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


@dataclass(frozen=True, slots=True)
class Formed:
    """In what form to send rows of a shape."""

    chosen: Chosen
    shape: Shape


async def page(
    request: web.Request,
    name: str,
    found: Listed,
    form: Formed,
    as_of: datetime | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """A page of a list whose rows are written already."""
    cursor = found.cursor
    said: dict[str, str] = {hdrs.VARY: formats.VARY, **(headers or {})}
    if form.chosen.form is Form.JSON:
        count = b"" if found.count is None else b',"count":%d' % found.count
        begin, end = b'{"%b":[' % name.encode(), b'],"cursor":%b%b}' % (rows.encode(cursor), count)
        body = _joined(begin, found.rows, end)
    else:
        body = await asyncio.to_thread(_formed, form, name, found.rows)
        said |= _beside(form, cursor, found.count)
    return answer(request, Body(body), "database", as_of, cursor, said)


def _joined(begin: bytes, page: Sequence[bytes], end: bytes) -> bytes:
    """A page's rows with commas between them, copied once: a page is long."""
    if not page:
        return begin + end
    *before, last = page
    before.append(last + end)
    before[0] = begin + before[0]
    return b",".join(before)


def listed(
    request: web.Request,
    name: str,
    document: Mapping[str, Any],
    form: Formed,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A document with rows, `name`, and perhaps a `cursor`: in another form the rows alone."""
    cursor = document.get("cursor")
    said: dict[str, str] = {hdrs.VARY: formats.VARY, **(headers or {})}
    body: Any = document
    if form.chosen.form is not Form.JSON:
        body = Body(_formed(form, name, map(rows.encode, document[name])))
        said |= _beside(form, cursor, None)
    return reply(request, body, source="database", next_cursor=cursor, headers=said)


def formed(request: web.Request, asked: Asked[Any]) -> Formed:
    """The form of a list's reply.

    Raises:
        Problem: 406 or 400 (`formats.of`).
    """
    return Formed(formats.of(request, asked.wished), asked.shape)


def _formed(form: Formed, name: str, page: Iterable[bytes]) -> bytes:
    written = Written(form.chosen, name, form.shape)
    return written.begin() + written.lines(page) + written.end()


def _beside(form: Formed, cursor: str | None, count: int | None) -> dict[str, str]:
    """What the envelope would say."""
    said: dict[str, str] = {hdrs.CONTENT_TYPE: form.chosen.content_type}
    if cursor is not None:
        said[CURSOR] = cursor
    if count is not None:
        said[COUNT] = str(count)
    return said


async def recent(
    request: web.Request, read: Callable[[web.Request], Awaitable[Answer]], *, formed: bool = False
) -> web.Response:
    """The answer that `read` finds, or found a moment ago for a request with the same path and
    parameters, letter by letter: it goes by nothing else, but where it is `formed` by Accept."""
    name = request.raw_path
    if formed and (chosen := formats.accepted(request, Form.JSON)) != formats.PLAIN:
        name = f"{chosen and chosen.content_type} {name}"
    found = await context.of(request).recent.get(name, lambda: read(request))
    coding = _coding(request, found.body)
    if coding:
        await found.body.compress(coding)
    age = age_of(found.as_of, datetime.now(UTC))
    return _response(request, found.body, found.headers, age, coding)


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
    return _response(request, body, headers, age_seconds, _coding(request, body))


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
    coding: Coding | None,
) -> web.Response:
    # A strong tag names bytes, and those of the compressed reply are others.
    tag = f'"{body.digest}-{coding}"' if coding else f'"{body.digest}"'
    if _has_already(request, body.digest):
        response = web.Response(status=304, headers=headers)
    else:
        data = body.data
        if coding:
            data = body.compressed.get(coding) or compressed(data, coding)
        response = web.Response(body=data, headers=headers)
        if hdrs.CONTENT_TYPE not in headers:
            response.headers[hdrs.CONTENT_TYPE] = "application/json"
        if coding:
            response.headers[hdrs.CONTENT_ENCODING] = coding
    response.headers[hdrs.ETAG] = tag
    if age_seconds is not None:
        response.headers[_AGE] = str(age_seconds)
    return response


def _coding(request: web.Request, body: Body) -> Coding | None:
    return codings.of(request) if len(body.data) >= _WORTH_COMPRESSING_BYTES else None


def private(document: Any, status: int = 200) -> web.Response:
    """A document that nobody may keep."""
    return web.Response(
        status=status,
        body=rows.encode(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _has_already(request: web.Request, digest: str) -> bool:
    if hdrs.IF_NONE_MATCH not in request.headers or request.method not in ("GET", "HEAD"):
        return False
    tags = request.if_none_match or ()
    ours = ("*", digest, *(f"{digest}-{coding}" for coding in CODINGS))
    return any(tag.value in ours for tag in tags)
