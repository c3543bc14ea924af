"""/: where everything is. People are led to pages, programs are told of them; no key is needed."""

from importlib.metadata import version

from aiohttp import hdrs, web

from ssmd_api.negotiation import weights
from ssmd_api.replies import reply
from ssmd_common.httpserver import Handler


def entry(*, pages: bool) -> Handler:
    """Answers for a service with or without the pages at /ui."""
    places = {
        "documentation": "/docs",
        "openapi": "/openapi.json",
        **({"pages": "/ui"} if pages else {}),
        "status": "/v1/status",
        "markets": "/v1/markets",
    }
    document = {
        "service": "ssmd secmaster",
        "version": version("ssmd-api"),
        "places": places,
        "key": "what is below /v1 needs one: X-API-Key: sk_…",
    }

    async def answer(request: web.Request) -> web.Response:
        if _is_for_people(request):
            place = places.get("pages", places["documentation"])
            headers = {hdrs.LOCATION: place, hdrs.CACHE_CONTROL: "no-store", hdrs.VARY: hdrs.ACCEPT}
            return web.Response(status=303, headers=headers)
        return reply(request, document, headers={hdrs.VARY: hdrs.ACCEPT})

    return answer


def to(place: str) -> Handler:
    """Leads there for good: the same path without the slash at its end."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=308, headers={hdrs.LOCATION: place})

    return answer


def _is_for_people(request: web.Request) -> bool:
    """Browsers ask for HTML by its name, and like it better than JSON."""
    wanted = weights(request.headers.get(hdrs.ACCEPT, ""))
    return wanted.get("text/html", 0) > wanted.get("application/json", 0)
