"""What every path answers beside its own methods, and paths of the first design."""

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from ssmd_api import context
from ssmd_common.httpserver import Handler

OLD_PATHS: Final = r"/{list:markets|events|fees}{rest:(?:/.*)?}"
"""Paths without /v1."""


def options(methods: Iterable[str]) -> Handler:
    """Answers OPTIONS: the methods that a path has. No key is needed, since browsers send none."""
    allowed = ", ".join(sorted({*methods, "OPTIONS"}))

    async def answer(request: web.Request) -> web.Response:
        response = web.Response(status=204, headers={"Allow": allowed})
        origins = context.of(request).origins
        origins.answer_preflight(request, allowed, response.headers)
        return response

    return answer


async def moved(request: web.Request) -> web.Response:
    """The same path below /v1, for good, whatever the method and the query."""
    return web.Response(status=308, headers={"Location": f"/v1{request.raw_path}"})
