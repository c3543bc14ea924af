"""Login: an API key in a cookie that no script reads and no other site sends along.

There are no sessions to keep: the cookie is the key, and is checked like one in a header. A form
bears a token made of the key, which only our own pages know; that of the login, where there is no
key yet, one that a cookie bears too.
"""

import hashlib
import hmac
import secrets
from typing import Final

from aiohttp import web

from ssmd_api import context
from ssmd_api.problems import Problem
from ssmd_api.ui import places

KEY_COOKIE: Final = "ssmd_ui_key"
LOGIN_COOKIE: Final = "ssmd_ui_login"
TOKEN_FIELD: Final = "token"  # noqa: S105 - a name

KEPT_DAYS: Final = 30
_PATH: Final = "/ui"


def key_of(request: web.Request) -> str | None:
    """The key's text."""
    return request.cookies.get(KEY_COOKIE) or None


def token(request: web.Request) -> str:
    """What a form of a page must bear; empty without a key."""
    key = key_of(request)
    return _token_of(key) if key else ""


def require_token(request: web.Request, said: object, wanted: str) -> None:
    """Refuse a form that was not sent from a page of ours.

    Raises:
        Problem: 403.
    """
    fits = isinstance(said, str) and wanted and hmac.compare_digest(said.encode(), wanted.encode())
    if not fits or request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Problem(
            403,
            "forged-form",
            "The form is not from this page",
            "the form was sent from elsewhere, or is too old: open the page again",
        )


def new_token() -> str:
    return secrets.token_urlsafe(24)


def to_login(request: web.Request) -> web.Response:
    """Ask for a key, and come back to here then."""
    had_one = key_of(request) is not None
    following = request.path_qs if request.method == "GET" else "/ui"
    query = {"next": following, **({"why": "ended"} if had_one else {})}
    response = seeing(places.changed("/ui/login", {}, **query))  # type: ignore[arg-type]
    if had_one:
        # Else each of its requests would count as a wrong key.
        forget(response)
    return response


def logged_in(request: web.Request, key: str, following: str) -> web.Response:
    response = seeing(places.safe(following))
    response.set_cookie(
        KEY_COOKIE,
        key,
        max_age=KEPT_DAYS * 86400,
        path=_PATH,
        httponly=True,
        # Links from elsewhere open a page; forms from elsewhere do not come with it.
        samesite="Lax",
        secure=is_secure(request),
    )
    response.del_cookie(LOGIN_COOKIE, path=_PATH)
    return response


def logged_out() -> web.Response:
    response = seeing("/ui/login")
    forget(response)
    return response


def forget(response: web.Response) -> None:
    response.del_cookie(KEY_COOKIE, path=_PATH)


def is_secure(request: web.Request) -> bool:
    """Whether the reader came over TLS, as far as can be known."""
    trusts = context.of(request).settings.api_trust_forwarded_for
    return request.secure or (
        trusts and request.headers.get("X-Forwarded-Proto", "").lower() == "https"
    )


def _token_of(key: str) -> str:
    return hmac.new(key.encode(), b"ssmd ui form", hashlib.sha256).hexdigest()


def seeing(place: str) -> web.Response:
    """Go and see there, by GET."""
    return web.Response(status=303, headers={"Location": place, "Cache-Control": "no-store"})
