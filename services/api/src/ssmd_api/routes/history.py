"""/v1/…/history: what was known of a row, and when."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from ssmd_api import context, cursors, formats, replies
from ssmd_api.cursors import Cursor
from ssmd_api.parameters import LARGEST, Parameters
from ssmd_api.paths import named
from ssmd_api.problems import not_found
from ssmd_api.replies import Formed
from ssmd_api.shapes import Shape
from ssmd_api.versions import Version
from ssmd_common import tables
from ssmd_common.columns import Column, Table

_SORT: Final = "history"
_SHAPE: Final = Shape(Table("history", tuple(Column(name=each.name) for each in fields(Version))))


def _of(table: Table, part: str, what: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Changes of a row of the table, the last first; `part` of the path has its key."""

    async def show(request: web.Request) -> web.Response:
        given = Parameters(request.query, datetime.now(UTC))
        limit, cursor = given.limit(), given.cursor(_SORT)
        wished = given.wished()
        given.no_as_of("makes no sense of versions, each of which says from when it was known")
        ticker = named(request, part, what)
        if cursor and cursor.ticker != ticker:
            given.fault("cursor", f"belongs to another {what}")
        given.done()
        form = Formed(formats.of(request, wished), _SHAPE)
        store = context.of(request).store
        before = cursor.key if cursor and isinstance(cursor.key, int) else LARGEST
        found = await store.versions(table, ticker, before, limit + 1)
        if found is None:
            raise not_found(what, ticker)
        following = None
        if len(found) > limit:
            found = found[:limit]
            following = cursors.encode(Cursor(_SORT, found[-1].number, ticker))
        document = {
            part: ticker,
            "history": [asdict(version) for version in found],
            "record_begins": await store.record_begins(),
            "cursor": following,
        }
        return replies.listed(request, "history", document, form)

    return show


series = _of(tables.SERIES, "ticker", "series")
events = _of(tables.EVENTS, "event_ticker", "event")
markets = _of(tables.MARKETS, "ticker", "market")
