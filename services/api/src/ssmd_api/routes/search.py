"""/v1/search"""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from ssmd_api import context, formats, replies, search
from ssmd_api.parameters import Parameters
from ssmd_api.replies import Formed
from ssmd_api.shapes import Shape
from ssmd_common.columns import Column, Table

_SHAPE: Final = Shape(Table("results", tuple(Column(name=name) for name in search.COLUMNS)))


async def find(request: web.Request) -> web.Response:
    """Series, events and markets by words in tickers and titles, the best first."""
    given = Parameters(request.query, datetime.now(UTC))
    words = given.search("q")
    kinds = given.choices("kind", search.KINDS)
    limit, wished = given.limit(), given.wished()
    if "q" not in request.query:
        given.fault("q", "is needed")
    given.no_as_of("is not for searches: lists take it with q")
    given.done()
    form = Formed(formats.of(request, wished), _SHAPE)
    found = await context.of(request).store.search(words, kinds, limit)
    return replies.listed(request, "results", {"results": found}, form)
