"""The application: which path is answered by what, and who may ask."""

from typing import Final

from aiohttp import web

from ssmd_api.context import CONTEXT, Context
from ssmd_api.middleware import (
    add_headers,
    answered,
    guarded,
    method_not_allowed,
    observe,
    refuse,
)
from ssmd_api.routes import (
    changes,
    collections,
    documentation,
    entry,
    events,
    export,
    fees,
    history,
    keys,
    marketdata,
    markets,
    others,
    requests,
    search,
    series,
    snapshot,
    stats,
    status,
)
from ssmd_common import health
from ssmd_common.health import Health
from ssmd_common.httpserver import EDGE, Edge, Handler

_MAX_BODY_BYTES: Final = 1 << 20

# (method, path, scope, handler)
ROUTES: Final[tuple[tuple[str, str, str, Handler], ...]] = (
    ("GET", "/v1/series", "read", series.list_series),
    ("GET", "/v1/series/{ticker}", "read", series.show_series),
    ("GET", "/v1/series/{ticker}/history", "read", history.series),
    ("GET", "/v1/events", "read", events.list_events),
    ("GET", "/v1/events/{event_ticker}", "read", events.show_event),
    ("GET", "/v1/events/{event_ticker}/history", "read", history.events),
    ("GET", "/v1/collections", "read", collections.list_collections),
    (
        "GET",
        "/v1/collections/{collection_ticker}",
        "read",
        collections.show_collection,
    ),
    ("GET", "/v1/markets", "read", markets.list_markets),
    ("POST", "/v1/markets/lookup", "read", markets.look_up),
    ("GET", "/v1/markets/{ticker}", "read", markets.show_market),
    ("GET", "/v1/markets/{ticker}/lifecycle", "read", markets.list_lifecycle),
    ("GET", "/v1/markets/{ticker}/history", "read", history.markets),
    ("GET", "/v1/markets/{ticker}/trades", "read", marketdata.list_trades),
    ("GET", "/v1/markets/{ticker}/ticker", "read", marketdata.show_ticker),
    ("GET", "/v1/markets/{ticker}/book", "read", marketdata.show_book),
    ("GET", "/v1/fees", "read", fees.list_tiers),
    ("POST", "/v1/fees/quote", "read", fees.quote),
    ("GET", "/v1/fees/{series}", "read", fees.show_series_fees),
    ("GET", "/v1/search", "read", search.find),
    ("GET", "/v1/export", "read", export.export),
    ("GET", "/v1/snapshot", "read", snapshot.snapshot),
    ("GET", "/v1/changes", "read", changes.changes),
    ("GET", "/v1/status", "read", status.show),
    ("GET", "/v1/stats/series", "read", stats.series),
    ("GET", "/v1/stats/markets", "read", stats.markets),
    ("GET", "/v1/stats/sync", "read", stats.sync),
    ("POST", "/v1/sync/{job}", "admin", requests.sync),
    ("POST", "/v1/cache/verify", "admin", requests.verify),
    ("GET", "/v1/requests", "admin", requests.list_requests),
    ("GET", "/v1/requests/{id}", "admin", requests.show),
    ("POST", "/v1/keys", "admin", keys.create_key),
    ("GET", "/v1/keys", "admin", keys.list_keys),
    ("GET", "/v1/keys/audit", "admin", keys.list_audit),
    ("DELETE", "/v1/keys/{id}", "admin", keys.revoke_key),
)


def make_app(context: Context, status: Health) -> web.Application:
    """Every route of the API; `status` answers the probes."""
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app[CONTEXT] = context
    app[EDGE] = Edge(observe, refuse, answered)
    app.on_response_prepare.append(add_headers)
    health.add_routes(app, status)
    scopes = {(method, path): scope for method, path, scope, _ in ROUTES}
    pages = context.settings.api_ui
    for path, handler in (
        ("/", entry.entry(pages=pages)),
        ("/openapi.json", documentation.openapi_json(scopes, context.deprecated)),
        *documentation.page(),
        ("/docs/", entry.to("/docs")),
    ):
        app.router.add_get(path, handler)
        app.router.add_route("OPTIONS", path, others.options(("GET", "HEAD")))
    allowed: dict[str, set[str]] = {}
    for method, path, scope, handler in ROUTES:
        for each in (method, "HEAD") if method == "GET" else (method,):
            app.router.add_route(each, path, guarded(scope, handler, context))
            allowed.setdefault(path, set()).add(each)
    if pages:
        # Templates are imported only where there are pages.
        from ssmd_api.ui import routes

        routes.add(app)
    for path, methods in allowed.items():
        app.router.add_route("OPTIONS", path, others.options(methods))
        # Else a path without variables would be taken for a value of one that has them.
        app.router.add_route("*", path, method_not_allowed({*methods, "OPTIONS"}))
    app.router.add_route("OPTIONS", others.OLD_PATHS, others.options(("GET", "HEAD", "POST")))
    app.router.add_route("*", others.OLD_PATHS, others.moved)
    return app
