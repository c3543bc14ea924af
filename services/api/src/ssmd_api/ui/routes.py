"""Which page is at which path."""

from typing import Final

from aiohttp import web

from ssmd_api import middleware
from ssmd_api.problems import not_found
from ssmd_api.routes import changes as api_changes
from ssmd_api.routes import entry
from ssmd_api.ui import (
    admin,
    adminkeys,
    assets,
    changes,
    event,
    find,
    login,
    market,
    marketdata,
    markets,
    now,
    series,
)
from ssmd_api.ui.frame import PAGES, Pages, closed, problem_page
from ssmd_common.httpserver import Handler

_PAGES: Final[tuple[tuple[str, Handler], ...]] = (
    ("/ui", now.show),
    ("/ui/markets", markets.show),
    ("/ui/markets.csv", markets.save),
    ("/ui/markets/{ticker}", market.show),
    ("/ui/markets/{ticker}/captured", marketdata.show),
    ("/ui/markets/{ticker}/stream", marketdata.stream),
    ("/ui/events/{event_ticker}", event.show),
    ("/ui/series", series.list_all),
    ("/ui/series/{ticker}", series.show),
    ("/ui/changes", changes.show),
    ("/ui/search", find.show),
    ("/ui/stream", api_changes.changes),
)
_ADMIN: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/ui/admin", admin.show),
    ("POST", "/ui/admin/requests", admin.ask),
    ("GET", "/ui/admin/keys", adminkeys.show),
    ("POST", "/ui/admin/keys", adminkeys.make),
    ("POST", "/ui/admin/keys/{id}/revoke", adminkeys.revoke),
)


async def _nowhere(request: web.Request) -> web.StreamResponse:
    raise not_found("page", request.path)


def add(app: web.Application) -> None:
    """All pages, and problems as pages."""
    app[PAGES] = pages = Pages()
    app[middleware.PROBLEM_PAGE] = problem_page
    for path, handler in assets.routes(pages.files):
        app.router.add_get(path, handler)
    app.router.add_get("/ui/", entry.to("/ui"))
    app.router.add_get("/ui/login", login.show)
    app.router.add_post("/ui/login", login.log_in)
    app.router.add_post("/ui/logout", login.log_out)
    for path, handler in _PAGES:
        app.router.add_get(path, closed(handler))
    for method, path, handler in _ADMIN:
        app.router.add_route(method, path, closed(handler, "admin"))
    app.router.add_get("/ui/{rest:.*}", closed(_nowhere))
