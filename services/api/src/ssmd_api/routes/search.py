"""/v1/search"""

from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import context, search
from ssmd_api.parameters import Parameters
from ssmd_api.replies import reply


async def find(request: web.Request) -> web.Response:
    """Series, events and markets by words in tickers and titles, the best first."""
    given = Parameters(request.query, datetime.now(UTC))
    words = given.search("q")
    kinds = given.choices("kind", search.KINDS)
    limit = given.limit()
    if "q" not in request.query:
        given.fault("q", "is needed")
    given.no_as_of("is not for searches: lists take it with q")
    given.done()
    found = await context.of(request).store.search(words, kinds, limit)
    return reply(request, {"results": found}, source="database")
