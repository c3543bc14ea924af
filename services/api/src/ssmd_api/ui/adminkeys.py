"""/ui/admin/keys: API keys and the trail of what was done with them, for keys with scope admin."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiohttp import web
from multidict import MultiDict

from ssmd_api import context, middleware
from ssmd_api.parameters import Parameters
from ssmd_api.problems import Fault, Problem
from ssmd_api.routes import keys
from ssmd_api.rows import Row, nearest
from ssmd_api.ui import places, session
from ssmd_api.ui.frame import PAGES, Live, render
from ssmd_common.apikeys import SCOPES

_KEYS: Final = 200
_TRAIL: Final = 30
_EXPIRES: Final = ("1d", "7d", "30d", "90d", "365d")


async def show(request: web.Request) -> web.Response:
    return await _page(request, MultiDict(scopes="read"))


async def make(request: web.Request) -> web.Response:
    """Make a key, whose text stands in this reply and nowhere else; of one form once."""
    sent = await request.post()
    session.require_token(request, sent.get(session.TOKEN_FIELD), session.token(request))
    said = MultiDict((name, value) for name, value in sent.items() if isinstance(value, str))
    once = request.app[PAGES].sent
    nonce = said.get("nonce", "")
    if not once.take(nonce):
        raise Problem(
            409,
            "form-sent-twice",
            "The form was sent before",
            "this form has made its key, which is shown once: look for it in the list of keys",
        )
    try:
        made = await keys.made(request, _body(said), datetime.now(UTC))
    except Problem as problem:
        once.give_back(nonce)
        if problem.status != 400:
            raise
        return await _page(request, said, problem.faults)
    except BaseException:
        once.give_back(nonce)
        raise
    return render(
        request, "keymade.html", title="A new key", here="admin", live=Live(held=True), made=made
    )


async def revoke(request: web.Request) -> web.Response:
    sent = await request.post()
    session.require_token(request, sent.get(session.TOKEN_FIELD), session.token(request))
    await keys.revoked(request)
    return session.seeing("/ui/admin/keys")


async def _page(
    request: web.Request, said: MultiDict[str], faults: Sequence[Fault] = ()
) -> web.Response:
    now = datetime.now(UTC)
    given = Parameters(places.given(request.query), now)
    after, before = given.number("after", 0) or 0, given.number("before", 1)
    given.done()
    service = context.of(request)
    # Uses are noted now and then; here they are wanted now.
    await service.authenticator.write_uses()
    found = await service.keys.page(after, _KEYS + 1)
    trail = await service.keys.audit(before, _TRAIL + 1)
    reader = middleware.reader(request)
    assert reader is not None
    return render(
        request,
        "keys.html",
        title="API keys",
        here="admin",
        status=400 if faults else 200,
        nonce=session.new_token(),
        keys=[(row, _state(row, now)) for row in found[:_KEYS]],
        more_keys=len(found) > _KEYS,
        own=reader.id,
        trail=trail[:_TRAIL],
        more_trail=len(trail) > _TRAIL,
        scopes=list(SCOPES),
        expires=_EXPIRES,
        default_rate=service.settings.api_default_rate_limit_per_minute,
        form=said,
        faults=faults,
    )


def _state(row: Row, now: datetime) -> str:
    if row["revoked_at"] is not None:
        return "revoked"
    expires = row["expires_at"]
    return "expired" if expires is not None and nearest(expires) <= now else "good"


def _body(said: MultiDict[str]) -> bytes:
    """The form as the body of POST /v1/keys."""
    body: dict[str, Any] = {
        "name": said.get("name", "").strip(),
        "scopes": said.getall("scopes", []),
        "expires_at": said.get("expires_at") or None,
    }
    rate = said.get("rate_limit_per_minute", "").strip()
    if rate:
        body["rate_limit_per_minute"] = int(rate) if rate.isascii() and rate.isdigit() else rate
    return msgspec.json.encode(body)
