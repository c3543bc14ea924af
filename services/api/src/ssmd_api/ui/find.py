"""/ui/search: series, events and markets by words."""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from ssmd_api import context
from ssmd_api.parameters import Parameters
from ssmd_api.ui import places
from ssmd_api.ui.frame import render

_LIMIT: Final = 60


async def show(request: web.Request) -> web.Response:
    """The results; where a ticker was typed in full, its page."""
    said = places.given(request.query)
    given = Parameters(said, datetime.now(UTC))
    words = given.search("q")
    given.done()
    found = await context.of(request).store.search(words, [], _LIMIT) if words else []
    if found and len(words) == 1 and found[0]["ticker"] == words[0].upper():
        place = places.of(found[0]["kind"], found[0]["ticker"])
        return web.Response(status=303, headers={"Location": place, "Cache-Control": "no-store"})
    return render(request, "find.html", title="Find", said=said, found=found, text=" ".join(words))
