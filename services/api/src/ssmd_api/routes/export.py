"""/v1/export"""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from ssmd_api import asof, context, filters, formats, shapes
from ssmd_api.codings import Stream
from ssmd_api.filters import Filter
from ssmd_api.formats import Form
from ssmd_api.parameters import Parameters
from ssmd_api.replies import Formed
from ssmd_api.tabular import Written

_LONGEST_SECONDS: Final = 900.0


async def export(request: web.Request) -> web.StreamResponse:
    """Every row of a list, with its filters, of one state of the database.

    A few at a time: each holds a connection and a snapshot.
    """
    given = Parameters(request.query, datetime.now(UTC))
    entity = given.choice("entity", list(filters.FILTERS), "markets")
    wished = given.wished()
    wanted: Filter = filters.read(filters.FILTERS[entity], given)
    shape, at = given.shape(shapes.LISTS[entity]), given.as_of()
    given.done()
    form = Formed(formats.of(request, wished, Form.JSONL), shape)
    with context.of(request).exports.place():
        async with asyncio.timeout(_LONGEST_SECONDS):
            return await _stream(request, entity, form, wanted, at)


async def _stream(
    request: web.Request, entity: str, form: Formed, wanted: Filter, at: datetime | None
) -> web.StreamResponse:
    chosen, shape = form.chosen, form.shape
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Type": chosen.content_type,
        "Content-Disposition": f'attachment; filename="{entity}.{_ENDINGS[chosen.form]}"',
        "X-Ssmd-Source": "database",
        "Vary": formats.VARY,
        **asof.headers(at, shape),
    }
    response = web.StreamResponse(headers=headers)
    stream, written = Stream(request, response), Written(chosen, entity, shape)
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
                await stream.write(written.begin())
            await stream.write(written.lines(page))
    if not response.prepared:
        await response.prepare(request)
        await stream.write(written.begin())
    await stream.write(written.end())
    await stream.end()
    return response


_ENDINGS: Final = {
    Form.JSON: "json",
    Form.ARRAY: "json",
    Form.JSONL: "jsonl",
    Form.CSV: "csv",
}
