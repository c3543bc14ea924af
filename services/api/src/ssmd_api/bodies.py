"""Reading the body of a request, with a deadline."""

import asyncio
from typing import Final

from aiohttp import web

from ssmd_api.problems import Problem

BODY_SECONDS: Final = 10.0
"""For the whole of a body, which is of a megabyte at most."""


async def read(request: web.Request) -> bytes:
    """The whole body, unpacked.

    Raises:
        Problem: 408 where it does not come in time, 400 where it cannot be read.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        detail = f"the body did not come within {BODY_SECONDS:g} s"
        raise Problem(408, "request-timeout", "Request Timeout", detail, closes=True) from None
    except web.RequestPayloadError:
        # The server need not look for its end.
        request.content.feed_eof()
        detail = "the body is not what Content-Encoding or Transfer-Encoding say"
        raise Problem(400, "bad-request", "Bad Request", detail, closes=True) from None
