"""Cross-origin requests (CORS): which pages of other hosts may ask from within a browser.

None may, unless the configuration names their origin. Keys travel in headers and never in cookies,
so a page can only use a key that it was given.
"""

from typing import Final

from aiohttp import web
from multidict import CIMultiDict

ANY: Final = "*"
_MAX_AGE_SECONDS: Final = 600
_SENT: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "X-API-Key",
    "X-Request-Id",
)
"""Headers that a page may send."""
_SHOWN: Final = (
    "Deprecation",
    "ETag",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Sunset",
    "WWW-Authenticate",
    "X-Request-Id",
    "X-Ssmd-Age",
    "X-Ssmd-As-Of",
    "X-Ssmd-Contract",
    "X-Ssmd-Count",
    "X-Ssmd-Cursor",
    "X-Ssmd-Not-Recorded",
    "X-Ssmd-Source",
    "X-Ssmd-Version",
)
"""Headers of replies that a page may read."""


class Origins:
    """The origins whose pages may ask, as `https://host[:port]`; `*` is any."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed

    def add_headers(self, request: web.BaseRequest, headers: CIMultiDict[str]) -> None:
        """What lets the page of this request read the reply."""
        origin = self._allow(request, headers)
        if origin:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = ", ".join(_SHOWN)

    def answer_preflight(
        self, request: web.BaseRequest, methods: str, headers: CIMultiDict[str]
    ) -> None:
        """What tells a browser which requests it may send."""
        asks = "Access-Control-Request-Method" in request.headers
        if asks and self._allow(request, headers):
            headers["Access-Control-Allow-Methods"] = methods
            headers["Access-Control-Allow-Headers"] = ", ".join(_SENT)
            headers["Access-Control-Max-Age"] = str(_MAX_AGE_SECONDS)

    def _allow(self, request: web.BaseRequest, headers: CIMultiDict[str]) -> str | None:
        if ANY in self._allowed:
            return ANY if "Origin" in request.headers else None
        if not self._allowed:
            return None
        vary = headers.get("Vary", "")
        if "Origin" not in vary:
            # Whoever keeps a reply must not show it to another origin.
            headers["Vary"] = f"{vary}, Origin" if vary else "Origin"
        origin = request.headers.get("Origin")
        return origin if origin in self._allowed else None
