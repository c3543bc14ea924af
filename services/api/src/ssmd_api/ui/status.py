"""The status of all services, as pages read it."""

from typing import Any

import psycopg

from ssmd_api.context import Context
from ssmd_common.currency import document


async def read(service: Context) -> dict[str, Any]:
    """The document of `/v1/status`; where its table is missing, one that says so: the rest of a
    page is shown all the same."""
    try:
        return document(await service.store.status())
    except psycopg.errors.UndefinedTable:
        return {
            "services": {},
            "sentence": "the table service_status is missing: run `ssmd db migrate`",
            "incomplete_why": None,
            "ready": False,
            "legs": {},
        }
