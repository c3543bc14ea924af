"""/ui/admin: what services are asked to do, what sync did, and what the exchange sends that is new.

For keys with the scope admin. A request is a row of `requests`, as POST /v1/sync/{job} and
/v1/cache/verify make it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from ssmd_api import context
from ssmd_api.parameters import Parameters
from ssmd_api.problems import Fault, bad_parameters
from ssmd_api.requeststore import Asked
from ssmd_api.routes import requests
from ssmd_api.rows import Row
from ssmd_api.ui import jobs, places, session, status
from ssmd_api.ui.frame import Live, render
from ssmd_common.words import counted

_REQUESTS: Final = 15
_RUNS: Final = 20
_MOST_RUNS: Final = 500
_OPEN: Final = ("waiting", "running")
_SOON_SECONDS: Final = 1
_LATER_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Told:
    """A request with what became of it: `is_good` is None while it is open. `shown` are lines for
    whoever wants more."""

    row: Row
    sentence: str
    is_good: bool | None
    shown: list[str]


@dataclass(frozen=True, slots=True)
class Drifted:
    """Something that a service got from the exchange and does not know, or cannot read."""

    service: str
    since: Any
    found: Mapping[str, Any]


async def show(request: web.Request) -> web.Response:
    given = Parameters(places.given(request.query), datetime.now(UTC))
    most = given.number("runs", 1, _MOST_RUNS) or _RUNS
    given.done()
    service = context.of(request)
    asked = await service.requests.page(None, _REQUESTS)
    runs = await service.store.stats_sync(most)
    document = await status.read(service)
    services = document["services"]
    waits = any(row["state"] in _OPEN for row in asked)
    return render(
        request,
        "admin.html",
        title="Admin",
        here="admin",
        live=Live(every_seconds=_SOON_SECONDS if waits else _LATER_SECONDS),
        nonce=session.new_token(),
        requests=[_told(row, services) for row in asked],
        jobs=jobs.last_runs(runs, document),
        runs=runs["recent_runs"],
        more_runs=len(runs["recent_runs"]) == most < _MOST_RUNS,
        most_runs=_MOST_RUNS,
        drift=list(_drift(services)),
        tells_drift=[name for name, one in services.items() if "drift" in (one["position"] or {})],
    )


async def ask(request: web.Request) -> web.Response:
    """Ask a service for something; of one form once, however often it is sent."""
    sent = await request.post()
    session.require_token(request, sent.get(session.TOKEN_FIELD), session.token(request))
    name, _, task = str(sent.get("task", "")).partition(":")
    wanted = Asked(name, task)
    if name != "sync" and wanted != requests.VERIFY:
        raise bad_parameters([Fault("task", "is nothing that can be asked for")])
    nonce = str(sent.get("nonce", ""))
    digest = hashlib.sha256(f"{nonce} {name} {task}".encode()).hexdigest()
    await requests.asked(request, wanted, f"ui-{digest}" if nonce else None)
    return session.seeing("/ui/admin#requests")


def _told(row: Row, services: Mapping[str, Any]) -> Told:
    match row["state"]:
        case "waiting":
            note = (services.get(row["service"]) or {}).get("note")
            waits = f"waits for {row['service']}"
            return Told(row, f"{waits}, which is not well: {note}" if note else waits, None, [])
        case "running":
            return Told(row, f"{row['worker']} works on it", None, [])
        case "failed":
            return Told(row, row["error"] or "it failed", False, [])
    result = row["result"] or {}
    if row["service"] == "sync":
        is_good = result.get("outcome") == "ok"
        return Told(row, result.get("message") or result.get("outcome") or "done", is_good, [])
    found, unread = result.get("drift", 0), result.get("unreadable", 0)
    sentence = (
        f"{counted(found, 'difference')} in {counted(result.get('rows', 0), 'row')} and "
        f"{result.get('entries', 0):,} entries"
    )
    if unread:
        sentence += f"; {unread:,} rows that Redis cannot show"
    return Told(row, sentence, not found, list(_differences(result)))


def _differences(result: Mapping[str, Any]) -> Iterator[str]:
    for each in result.get("differences") or ():
        yield (
            f"{each.get('key')} {each.get('field')}: {each.get('found')!r}, should be "
            f"{each.get('expected')!r}"
        )
    for each in result.get("unreadable_rows") or ():
        yield " ".join(str(value) for value in each.values())


def _drift(services: Mapping[str, Any]) -> Iterator[Drifted]:
    for name, one in services.items():
        for found in (one["position"] or {}).get("drift") or ():
            yield Drifted(name, one["started_at"], found)
