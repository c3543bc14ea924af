"""/v1/sync/{job}, /v1/cache/verify and /v1/requests, for keys with scope admin

Nothing is done here: the service that a request is for finds its row, and answers there.
"""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from ssmd_api import context, forms, paging
from ssmd_api.forms import MAX_TEXT
from ssmd_api.middleware import actor
from ssmd_api.parameters import Parameters
from ssmd_api.paths import named
from ssmd_api.problems import Fault, Problem, bad_parameters, not_found
from ssmd_api.replies import private
from ssmd_api.requeststore import Asked
from ssmd_api.rows import Row

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
VERIFY: Final = Asked("cache", "verify")


async def sync(request: web.Request) -> web.Response:
    """Have a job of sync run now, due or not."""
    key = _idempotency_key(request)
    return _accepted(await asked(request, Asked("sync", named(request, "job", "job")), key))


async def verify(request: web.Request) -> web.Response:
    """Have cache compare everything in Redis with PostgreSQL."""
    return _accepted(await asked(request, VERIFY, _idempotency_key(request)))


async def show(request: web.Request) -> web.Response:
    """A request and what became of it."""
    Parameters(request.query, datetime.now(UTC)).done()
    number = request.match_info["id"]
    # Longer numbers are no id of ours, and none of PostgreSQL's bigint.
    known = number.isascii() and number.isdigit() and len(number) <= 18
    found = await context.of(request).requests.find(int(number)) if known else None
    if found is None:
        raise not_found("request", number[:MAX_TEXT])
    return private(found)


async def list_requests(request: web.Request) -> web.Response:
    """What was asked of services, the last first."""
    given = Parameters(request.query, datetime.now(UTC))
    limit, cursor = given.limit(), given.cursor("requests")
    given.done()
    found = await context.of(request).requests.page(paging.id_of(cursor), limit + 1)
    return private(paging.cut_by_id("requests", found, limit))


def _idempotency_key(request: web.Request) -> str | None:
    Parameters(request.query, datetime.now(UTC)).done()
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not forms.IDEMPOTENCY_KEY.fullmatch(key):
        detail = f"must have 1 to {MAX_TEXT} characters of ASCII, and no spaces"
        raise bad_parameters([Fault(IDEMPOTENCY_KEY, detail)])
    return key


async def asked(request: web.Request, wanted: Asked, key: str | None) -> Row:
    """The row of what is asked for, or that which this `Idempotency-Key` has.

    Raises:
        Problem: 404, there is no such job; 422, the key is that of something else.
    """
    store = context.of(request).requests
    if wanted.service == "sync" and not await store.has_job(wanted.task):
        raise not_found("job", wanted.task)
    row = await store.add(wanted, actor(request), key)
    if Asked(row["service"], row["task"]) != wanted:
        raise Problem(
            422,
            "idempotency-key-reused",
            "The Idempotency-Key is another request's",
            f"request {row['id']} of this key has it, which is for {row['task']!r} of "
            f"{row['service']}",
        )
    return row


def _accepted(row: Row) -> web.Response:
    reply = private(row, status=202)
    reply.headers["Location"] = f"/v1/requests/{row['id']}"
    return reply
