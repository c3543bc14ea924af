"""/v1/keys, for keys with scope admin"""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from ssmd_api import bodies, context, paging
from ssmd_api.forms import MAX_TEXT
from ssmd_api.middleware import actor
from ssmd_api.parameters import Parameters, moment, text
from ssmd_api.problems import Fault, bad_parameters, not_found
from ssmd_api.replies import private
from ssmd_api.rows import Row
from ssmd_api.schemas import MAX_RATE_LIMIT
from ssmd_common import apikeys
from ssmd_common.apikeys import SCOPES


class KeyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/keys; `expires_at` is a time, or a duration from now such as `90d`."""

    name: str
    scopes: list[str] = msgspec.field(default_factory=lambda: ["read"])
    rate_limit_per_minute: int | float | None = None
    """A whole number, which in JSON may be written `600.0` too."""
    expires_at: str | None = None


async def create_key(request: web.Request) -> web.Response:
    """Make a key. Its text is in this reply and nowhere else."""
    now = datetime.now(UTC)
    Parameters(request.query, now).done()
    return private(await made(request, await bodies.read(request), now), status=201)


async def made(request: web.Request, body: bytes, now: datetime) -> Row:
    """The row of a key that is made as the body asks, by whoever asks, with its text as `key`.

    Raises:
        Problem: 400 that names what is wrong with the body.
    """
    service = context.of(request)
    wanted, expires_at = _read(body, now)
    rate = int(wanted.rate_limit_per_minute or service.settings.api_default_rate_limit_per_minute)
    key = apikeys.generate(service.settings.api_key_environment)
    scopes = list(dict.fromkeys(wanted.scopes))
    row = await service.keys.create(key, wanted.name, scopes, rate, expires_at, actor(request))
    return {"key": key.text, **row}


async def list_keys(request: web.Request) -> web.Response:
    """Every key, without what would let one use it."""
    given = Parameters(request.query, datetime.now(UTC))
    limit, cursor = given.limit(), given.cursor("keys")
    given.done()
    found = await context.of(request).keys.page(paging.id_of(cursor) or 0, limit + 1)
    return private(paging.cut_by_id("keys", found, limit))


async def list_audit(request: web.Request) -> web.Response:
    """Which keys were made and revoked, by whom and from where, the last first."""
    given = Parameters(request.query, datetime.now(UTC))
    limit, cursor = given.limit(), given.cursor("audit")
    given.done()
    found = await context.of(request).keys.audit(paging.id_of(cursor), limit + 1)
    return private(paging.cut_by_id("audit", found, limit))


async def revoke_key(request: web.Request) -> web.Response:
    """Revoke a key for good; its row stays."""
    Parameters(request.query, datetime.now(UTC)).done()
    await revoked(request)
    return web.Response(status=204)


async def revoked(request: web.Request) -> None:
    """Revoke the key whose id the path has.

    Raises:
        Problem: 404, there is no such key.
    """
    number = request.match_info["id"]
    service = context.of(request)
    # Longer numbers are no id of ours, and none of PostgreSQL's bigint.
    known = number.isascii() and number.isdigit() and len(number) <= 18
    if not known or await service.keys.revoke(int(number), actor(request)) is None:
        raise not_found("key", number[:MAX_TEXT])
    service.authenticator.forget(int(number))
    service.keywatch.look_now()


def _read(body: bytes, now: datetime) -> tuple[KeyRequest, datetime | None]:
    try:
        wanted = msgspec.json.decode(body, type=KeyRequest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise bad_parameters([Fault("body", str(error))]) from None
    faults = []
    try:
        text(wanted.name)
    except ValueError as error:
        faults.append(Fault("name", str(error)))
    if not wanted.scopes or not set(wanted.scopes) <= set(SCOPES):
        faults.append(Fault("scopes", f"must be some of {', '.join(SCOPES)}"))
    rate = wanted.rate_limit_per_minute
    if rate is not None and (rate != int(rate) or not 1 <= rate <= MAX_RATE_LIMIT):
        detail = f"must be a whole number from 1 to {MAX_RATE_LIMIT}"
        faults.append(Fault("rate_limit_per_minute", detail))
    expires_at = None
    if wanted.expires_at is not None:
        try:
            expires_at = moment(wanted.expires_at, now)
        except ValueError as error:
            faults.append(Fault("expires_at", str(error)))
        else:
            if expires_at <= now:
                faults.append(Fault("expires_at", "must be in the future"))
    if faults:
        raise bad_parameters(faults)
    return wanted, expires_at
