"""/openapi.json and /docs: without a key, and without anything from another host."""

from importlib.metadata import version
from importlib.resources import files
from typing import Final

from aiohttp import web

from ssmd_api import openapi
from ssmd_api.middleware import Handler
from ssmd_api.replies import reply

_POLICY: Final = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


def openapi_json(scopes: dict[tuple[str, str], str]) -> Handler:
    """Answers with the document of these routes."""
    document = openapi.document(scopes, version("ssmd-api"))

    async def answer(request: web.Request) -> web.Response:
        return reply(request, document)

    return answer


def docs() -> Handler:
    """Answers with a page that shows the document and sends requests."""
    page = files("ssmd_api").joinpath("docs.html").read_text("utf-8")

    async def answer(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _POLICY}
        return web.Response(text=page, content_type="text/html", headers=headers)

    return answer
