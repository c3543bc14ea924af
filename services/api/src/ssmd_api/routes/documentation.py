"""/openapi.json and /docs: without a key, and without anything from another host.

The page is our own. Those that one can take over are of megabytes, need inline styles, fonts or
`eval`, read a whole reply before they show it, and have no stream that can be stopped.
"""

from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from typing import Final

from aiohttp import web

from ssmd_api import openapi
from ssmd_api.deprecation import Marked
from ssmd_api.replies import reply
from ssmd_common.httpserver import Handler

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing but the page's own files runs, and no text is ever taken for a program."""

_MEDIA: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


def openapi_json(scopes: dict[tuple[str, str], str], deprecated: Marked) -> Handler:
    """Answers with the document of these routes."""
    document = openapi.document(scopes, version("ssmd-api"), deprecated)

    async def answer(request: web.Request) -> web.Response:
        return reply(request, document)

    return answer


def page() -> Iterator[tuple[str, Handler]]:
    """The paths of the page that shows the document and sends requests, with what answers them."""
    for file in files("ssmd_api").joinpath("page").iterdir():
        path = "/docs" if file.name == "index.html" else f"/docs/{file.name}"
        yield path, _file(file.read_bytes(), _MEDIA[file.name.rpartition(".")[2]])


def _file(body: bytes, media: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(
            body=body,
            content_type=media,
            charset="utf-8",
            headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"},
        )

    return answer
