"""/v1/collections: what multivariate markets are made of."""

from datetime import UTC, datetime

from aiohttp import web

from ssmd_api import context, cursors, shapes
from ssmd_api.cursors import Cursor
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.replies import reply
from ssmd_common.columns import Kind

_NO_PAST = "makes no sense of collections, whose past is not recorded"


async def list_collections(request: web.Request) -> web.Response:
    """Collections by their tickers."""
    given = Parameters(request.query, datetime.now(UTC))
    series, event = given.text("series"), given.text("event")
    asked = cursors.digest((n, v) for n, v in (("series", series), ("event", event)) if v)
    limit, cursor = given.limit(), given.cursor("collection_ticker", Kind.TEXT, asked)
    shape = given.shape(shapes.COLLECTIONS)
    given.no_as_of(_NO_PAST)
    given.done()
    after = cursor.ticker if cursor else ""
    found = await context.of(request).store.collections(series, event, after, limit + 1)
    following = None
    if len(found) > limit:
        found = found[:limit]
        last = found[-1]["collection_ticker"]
        following = cursors.encode(Cursor("collection_ticker", last, last, asked))
    document = {"collections": [shape.pick(row) for row in found], "cursor": following}
    return reply(request, document, source="database", next_cursor=following)


async def show_collection(request: web.Request) -> web.Response:
    given = Parameters(request.query, datetime.now(UTC))
    shape = given.shape(shapes.COLLECTIONS)
    given.no_as_of(_NO_PAST)
    given.done()
    ticker = named(request, "collection_ticker", "collection")
    row = await context.of(request).store.collection(ticker)
    if row is None:
        raise not_found("collection", ticker)
    return reply(request, shape.pick(row), source="database")
