"""The frame that all pages stand in: templates, headers, and problems as pages."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from aiohttp import hdrs, web
from jinja2 import Environment, PackageLoader, StrictUndefined

from ssmd_api import codings, context, middleware
from ssmd_api.problems import Problem, forbidden
from ssmd_api.ui import assets, places, session, texts
from ssmd_api.ui.once import Once
from ssmd_api.ui.spark import spark
from ssmd_api.ui.texts import Unit
from ssmd_common.httpserver import Handler
from ssmd_common.times import spelled_moment

_UNIT_COOKIE: Final = "ssmd_ui_unit"
_UNIT_SECONDS: Final = 365 * 86400
_TRUSTED_TYPES: Final = "ssmd-page"
HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            f"trusted-types {_TRUSTED_TYPES}",
        )
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Nothing but the pages' own files runs, and nothing of a page is kept by others."""

_HEADINGS: Final = {
    400: "This address asks for something that cannot be",
    403: "This key may not see this",
    404: "There is no such thing",
    410: "This is gone",
    429: "Too much at once",
    503: "This cannot be read now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What a page follows, so that its script reads it anew when that changes."""

    stream: str = ""
    """The query of /ui/stream; without one nothing is followed."""
    soon: str = ""
    """Types of changes, with spaces between, that it is read anew for; without any all of them."""
    soonest_seconds: int = 1
    """How long after the last time it is so at the soonest."""
    every_seconds: int = 0
    """How often it is read anew in any case; 0 is never."""
    held: bool = False
    """Not read anew at all: what it shows is shown once."""


STILL: Final = Live()

KEYS: Final = "ticker,event_ticker,series_ticker,market_ticker,tier"
"""The fields of a change that a page is told: something of each table, which else is left out."""


@dataclass(slots=True)
class Pages:
    """The templates, and what every page has."""

    files: dict[str, assets.Asset] = field(default_factory=assets.read)
    sent: Once = field(default_factory=Once)
    """Forms that have made what cannot be made twice."""
    nats_answered: bool = True
    """When a market's page asked it last."""
    _environment: Environment = field(init=False)
    _compiling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _compiled: bool = False

    def __post_init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("ssmd_api.ui"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            price=texts.price,
            count=texts.count,
            exact_count=texts.exact_count,
            when=texts.when,
            lag=texts.lag,
            took=texts.took,
            number=texts.number,
            words=texts.words,
            factor=texts.factor,
            with_times=texts.with_times,
            with_code=texts.with_code,
            short=texts.short,
        )
        self._environment.globals.update(
            asset=lambda name: assets.url(self.files[name]),
            nothing=texts.NOTHING,
            spark=spark,
        )

    async def compile(self) -> None:
        """Have all templates compiled, beside what else is answered: it takes as long as hundreds
        of requests."""
        async with self._compiling:
            if not self._compiled:
                await asyncio.to_thread(
                    lambda: [
                        self._environment.get_template(name)
                        for name in self._environment.list_templates()
                    ]
                )
                self._compiled = True

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        return self._environment.get_template(template).render(values)


PAGES: Final = web.AppKey("pages", Pages)


def unit(request: web.Request) -> Unit:
    """How prices are shown: as the address says, else as it last said."""
    said = request.query.get("unit") or request.cookies.get(_UNIT_COOKIE)
    return "dollars" if said == "dollars" else "cents"


def moment(as_of: datetime | None) -> str | None:
    """As an address has it."""
    return None if as_of is None else spelled_moment(as_of)


def render(
    request: web.Request,
    template: str,
    *,
    title: str,
    here: str = "",
    as_of: datetime | None = None,
    live: Live = STILL,
    has_past: bool = False,
    status: int = 200,
    **values: Any,
) -> web.Response:
    """A page; `here` names its place in the menu, `as_of` the moment that it is of; `has_past` is
    whether there are moments to choose from.

    What is of the past does not change: it follows nothing.
    """
    past = moment(as_of)
    shown = unit(request)
    query = places.given(request.query)
    other = "cents" if shown == "dollars" else "dollars"
    body = request.app[PAGES].text(
        template,
        {
            "title": title,
            "here": here,
            "unit": shown,
            "other_unit": other,
            "other_unit_address": places.changed(request.path, query, unit=other),
            "as_of": past,
            "now_address": places.changed(request.path, query, as_of=None, cursor=None),
            "has_past": has_past,
            "as_of_fields": [pair for pair in query.items() if pair[0] not in ("as_of", "cursor")],
            "path": request.path,
            "live": STILL if past else live,
            "now": datetime.now(UTC),
            "reader": middleware.reader(request),
            "csrf": session.token(request),
            "to": lambda kind, ticker: places.of(kind, ticker, past),
            "page": lambda path: places.page(path, past),
            "changed": lambda **new: places.changed(request.path, query, **new),
            **values,
        },
    )
    sent, coding = body.encode(), codings.of(request)
    response = web.Response(
        body=codings.compressed(sent, coding) if coding else sent,
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=HEADERS,
    )
    if coding is not None:
        response.headers[hdrs.CONTENT_ENCODING] = coding
    if "unit" in request.query:
        response.set_cookie(
            _UNIT_COOKIE, shown, max_age=_UNIT_SECONDS, path="/ui", samesite="Lax", httponly=True
        )
    return response


def problem_page(request: web.Request, problem: Problem) -> web.Response | None:
    """A problem as a page in the same frame; None where no page was asked for."""
    path = request.path
    if path != "/ui" and not path.startswith("/ui/"):
        return None
    if path.startswith(assets.PATH) or path.endswith("/stream"):
        return None
    heading = _HEADINGS.get(problem.status) or HTTPStatus(problem.status).phrase
    detail = problem.detail[:1].upper() + problem.detail[1:].rstrip(".") + "."
    response = render(
        request,
        "problem.html",
        title=heading,
        status=problem.status,
        detail=detail,
        faults=problem.faults,
        request_id=middleware.request_id(request),
        is_filtered=bool(request.query),
        may_retry=request.method == "GET" and "Retry-After" in problem.headers,
    )
    response.headers.update(problem.headers)
    return response


def closed(handler: Handler, scope: str = "read") -> Handler:
    """`handler` for readers who are logged in with a key that has `scope` beside `read`; who is not
    logged in is asked to."""

    async def guard(request: web.Request) -> web.StreamResponse:
        await request.app[PAGES].compile()
        try:
            key = await middleware.admit(
                request, session.key_of(request), "read", context.of(request)
            )
        except Problem as problem:
            if problem.status != HTTPStatus.UNAUTHORIZED:
                raise
            return session.to_login(request)
        if scope not in key.scopes:
            raise forbidden(scope)
        return await handler(request)

    return guard
