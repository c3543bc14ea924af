"""The route /v1/snapshot: tables of one state of the database as NDJSON (`ssmd_api.snapshot`)."""

from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Final

from aiohttp import web

from ssmd_api import asof, context, rows, shapes
from ssmd_api.changefilter import filters
from ssmd_api.codings import Stream
from ssmd_api.filters import multivariate
from ssmd_api.parameters import Parameters
from ssmd_api.snapshot import DEFAULT_TABLES, TABLES, Taken, take
from ssmd_common.tables import PUBLISHED
from ssmd_common.times import spelled_moment
from ssmd_stream.subjects import STREAM

WAIT_SECONDS: Final = 5.0


async def snapshot(request: web.Request) -> web.StreamResponse:
    """Lines of JSON: first the snapshot, then the rows, at last how many there were."""
    given = Parameters(request.query, datetime.now(UTC))
    tables = [table for text in given.texts("tables") for table in text.split(",")]
    if not set(tables) <= set(TABLES):
        given.fault("tables", f"must be some of {', '.join(TABLES)}, with commas between")
        tables = []
    wanted = {
        name: value
        for name in ("series", "event", "market")
        if (value := given.text(name)) is not None
    }
    # As with changes: what cannot be told by a filter has nothing for it.
    tables = [table for table in tables or DEFAULT_TABLES if wanted.keys() <= filters(table).keys()]
    if not tables:
        given.fault("tables", f"no table can be filtered by {' and '.join(wanted)}")
    kinds, at = multivariate(given), given.as_of()
    if at is not None and (unknown := [table for table in tables if table not in asof.TABLES]):
        given.fault("tables", f"the past of {', '.join(unknown)} is not recorded")
    # Where the tables are wrong, fields are judged all the same.
    whole = {table: PUBLISHED[table] for table in tables or TABLES}
    shown = given.chosen(whole, partial(shapes.of_tables, whole))
    if not shown:
        given.fault("fields", "no table has one of them")
    given.done()
    service = context.of(request)
    async with AsyncExitStack() as stack:
        stack.enter_context(service.exports.place())
        if at is not None:
            store = await stack.enter_async_context(service.store.as_of(at))
            assert store.past is not None
            taken = Taken("", 0, service.database, store.past.connection, store.past)
        else:
            taken = await stack.enter_async_context(
                take(service.database, service.feed, wait_seconds=WAIT_SECONDS)
            )
        headers = {"Cache-Control": "no-store", **asof.headers(at, *shown.values())}
        response = web.StreamResponse(headers=headers)
        response.content_type = "application/x-ndjson"
        response.charset = "utf-8"
        stream = Stream(request, response)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        head = {
            "snapshot": taken.snapshot,
            "stream": STREAM,
            "sequence": taken.sequence,
            "tables": list(shown),
        }
        if at is not None:
            # What comes after it is in no change stream that begins at a sequence.
            head = {
                "as_of": spelled_moment(at),
                "not_recorded": {name: asof.unrecorded(each) for name, each in shown.items()},
                "tables": list(shown),
            }
        await stream.write(rows.encode(head) + b"\n")
        count = 0
        for name, columns in shown.items():
            async with aclosing(taken.rows(columns, wanted, kinds)) as pages:
                async for page in pages:
                    count += len(page)
                    lines = [b'{"table":"%b","data":%b}\n' % (name.encode(), row) for row in page]
                    await stream.write(b"".join(lines))
        await stream.write(rows.encode({"end": True, "rows": count}) + b"\n")
        await stream.end()
        return response
