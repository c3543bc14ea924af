"""/v1/status"""

from datetime import UTC, datetime

import psycopg
from aiohttp import web

from ssmd_api import context
from ssmd_api.parameters import Parameters
from ssmd_api.problems import unavailable
from ssmd_api.replies import private
from ssmd_common.currency import document


async def show(request: web.Request) -> web.Response:
    """How every service is, and how current and complete the whole; always of this moment."""
    Parameters(request.query, datetime.now(UTC)).done()
    try:
        known = await context.of(request).store.status()
    except psycopg.errors.UndefinedTable:
        raise unavailable("the table service_status is missing: run `ssmd db migrate`") from None
    return private(document(known))
