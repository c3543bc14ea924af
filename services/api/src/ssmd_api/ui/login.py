"""/ui/login and /ui/logout"""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from ssmd_api import context, middleware
from ssmd_api.problems import Problem
from ssmd_api.ui import places, session
from ssmd_api.ui.frame import render

_ENDED: Final = "The key is no longer good: it has expired or was revoked."
_WORDS: Final = {
    HTTPStatus.UNAUTHORIZED: "This key is wrong, expired or revoked.",
    HTTPStatus.FORBIDDEN: "This key may not read: it needs the scope “read”.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many tries from this address: wait a minute.",
}


async def show(request: web.Request) -> web.Response:
    problem = _ENDED if request.query.get("why") == "ended" else ""
    return _form(request, request.query.get("next", ""), problem)


async def log_in(request: web.Request) -> web.Response:
    sent = await request.post()
    session.require_token(
        request,
        sent.get(session.TOKEN_FIELD),
        request.cookies.get(session.LOGIN_COOKIE, ""),
    )
    following, key = sent.get("next", ""), sent.get("key", "")
    if not isinstance(following, str) or not isinstance(key, str):
        raise web.HTTPBadRequest
    try:
        await middleware.admit(request, key.strip() or None, "read", context.of(request))
    except Problem as problem:
        if problem.status not in _WORDS:
            raise
        words = _WORDS[HTTPStatus(problem.status)] if key.strip() else "Enter an API key."
        return _form(request, following, words, problem.status)
    return session.logged_in(request, key.strip(), following)


async def log_out(request: web.Request) -> web.Response:
    sent = await request.post()
    session.require_token(request, sent.get(session.TOKEN_FIELD), session.token(request))
    return session.logged_out()


def _form(
    request: web.Request, following: str, problem: str, status: int = HTTPStatus.OK
) -> web.Response:
    token = request.cookies.get(session.LOGIN_COOKIE) or session.new_token()
    response = render(
        request,
        "login.html",
        title="Log in",
        status=status,
        login_token=token,
        kept_days=session.KEPT_DAYS,
        following=places.safe(following),
        problem=problem,
    )
    response.set_cookie(
        session.LOGIN_COOKIE,
        token,
        path="/ui",
        httponly=True,
        samesite="Strict",
        secure=session.is_secure(request),
    )
    return response
