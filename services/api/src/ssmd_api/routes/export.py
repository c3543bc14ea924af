"""/v1/export"""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from ssmd_api import asof, context, filters, shapes, tabular
from ssmd_api.filters import Filter
from ssmd_api.parameters import Parameters
from ssmd_api.replies import accepts_gzip
from ssmd_api.shapes import Shape

_LONGEST_SECONDS: Final = 900.0


async def export(request: web.Request) -> web.StreamResponse:
    """Every row of a list, with its filters, of one state of the database.

    A few at a time: each holds a connection and a snapshot.
    """
    given = Parameters(request.query, datetime.now(UTC))
    entity = given.choice("entity", list(filters.FILTERS), "markets")
    form = given.choice("format", list(tabular.CONTENT_TYPES), "jsonl")
    wanted: Filter = filters.read(filters.FILTERS[entity], given)
    shape, at = given.shape(shapes.LISTS[entity]), given.as_of()
    given.done()
    with context.of(request).exports.place():
        async with asyncio.timeout(_LONGEST_SECONDS):
            return await _stream(request, entity, form, wanted, shape, at)


async def _stream(
    request: web.Request, entity: str, form: str, wanted: Filter, shape: Shape, at: datetime | None
) -> web.StreamResponse:
    headers = {"Cache-Control": "private, no-cache", **asof.headers(at, shape)}
    response = web.StreamResponse(headers=headers)
    response.content_type = tabular.CONTENT_TYPES[form]
    response.charset = "utf-8"
    response.headers["Content-Disposition"] = f'attachment; filename="{entity}.{form}"'
    response.headers["X-Ssmd-Source"] = "database"
    response.headers["Vary"] = "Accept-Encoding"
    if accepts_gzip(request.headers.get("Accept-Encoding", "")):
        response.enable_compression(web.ContentCoding.gzip)
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    async with (
        context.of(request).store.as_of(at) as store,
        aclosing(store.export(wanted, shape)) as pages,
    ):
        async for page in pages:
            if not response.prepared:
                # Not before there is a row: until then an error can still be told as one.
                await response.prepare(request)
                await response.write(tabular.header(form, shape))
            await response.write(tabular.lines(form, page))
    if not response.prepared:
        await response.prepare(request)
        await response.write(tabular.header(form, shape))
    await response.write_eof()
    return response
