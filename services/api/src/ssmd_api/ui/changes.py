"""/ui/changes: the latest changes, each from old to new, with the filters of /v1/changes."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from multidict import MultiDict

from ssmd_api import context, lookback, rows
from ssmd_api.changefilter import TABLES, ChangeFilter, NothingFits
from ssmd_api.parameters import Parameters
from ssmd_api.problems import unavailable
from ssmd_api.serversent import Event
from ssmd_api.ui import places
from ssmd_api.ui.changed import Changed, changes_of
from ssmd_api.ui.frame import KEYS, Live, render
from ssmd_common import tables
from ssmd_common.tables import PUBLISHED

_SHOWN: Final = 100
_KINDS: Final = {"markets": "market", "events": "event", "series": "series"}
_STEPS: Final = ("activated", "closed", "determined", "settled")
_ENDS: Final = ("closed", "settled")
TYPES: Final = (
    ("markets", tuple(f"market_{step}" for step in ("added", "updated", "removed"))),
    ("their lives", tuple(f"market_{step}" for step in _STEPS)),
    ("events", tuple(f"event_{step}" for step in ("added", "updated", "removed", *_ENDS))),
    ("series", tuple(f"series_{step}" for step in ("added", "updated", "removed"))),
    ("others", ("fee_changed", "lifecycle_recorded")),
)
"""What can be chosen from, in groups."""


@dataclass(frozen=True, slots=True)
class Line:
    """One change. `kind` and `ticker` say whose page it is, where it has one."""

    sequence: int
    at: str | None
    type: str
    kind: str
    ticker: str
    title: str
    changes: list[Changed]
    note: str = ""


async def show(request: web.Request) -> web.Response:
    said = places.given(request.query)
    given = Parameters(said, datetime.now(UTC))
    picked = given.choices("table", TABLES)
    wanted = ChangeFilter(
        tables=tuple(sorted(set(picked))),
        series=given.text("series"),
        event=given.text("event"),
        market=given.text("market"),
        types=tuple(sorted(set(given.texts("type")))),
    )
    before = given.number("before", 1)
    until = given.as_of("until")
    try:
        wanted.subjects()
    except NothingFits as error:
        given.fault("table", str(error))
    given.done()
    service = context.of(request)
    # Until a moment is up to its end, as the field has it: to the second.
    if until is not None:
        before = await lookback.sequence_at(service.feed, until)
    lines, start = await _lines(request, wanted, before)
    following = MultiDict(
        (name, value) for name, value in said.items() if name not in ("before", "until")
    )
    # A field that none of the tables has would be refused.
    names = {name for table in picked or TABLES for name in PUBLISHED[table].names}
    following["fields"] = ",".join(name for name in KEYS.split(",") if name in names)
    is_latest = before is None
    return render(
        request,
        "changes.html",
        title="Changes",
        here="changes",
        live=Live(stream=places.address("", following)[1:]) if is_latest else Live(),
        said=said,
        lines=lines,
        tables=TABLES,
        types=TYPES,
        is_latest=is_latest,
        until=until,
        older=lines[-1].sequence
        if len(lines) == _SHOWN
        else (start if lines and start > 1 else None),
        looked_from=start,
        plain=not said,
    )


async def _lines(
    request: web.Request, wanted: ChangeFilter, before: int | None
) -> tuple[list[Line], int]:
    import nats.errors

    from ssmd_stream.errors import ReaderBroken, StreamGap

    try:
        found, start = await lookback.latest(context.of(request).feed, wanted, _SHOWN, before)
    except (StreamGap, ReaderBroken, nats.errors.Error, OSError) as error:
        raise unavailable(f"the change stream broke off: {error}") from error
    return [line_of(event) for event in found], start


def line_of(event: Event) -> Line:
    """An event as the page shows it."""
    payload = event.data.partition(b"\ndata: ")[2].rstrip(b"\n")
    document = rows.decode(payload, rows.ROW_DEPTH)
    sequence = event.id.sequence
    if event.kind is None:
        return Line(sequence, None, "unreadable", "", event.subject, "", [], document["reason"])
    table = str(document.get("table", ""))
    row = _row(document)
    kind = _KINDS.get(table, "")
    ticker = _ticker(table, row, document)
    if table == "market_lifecycle_events":
        kind = "market" if row.get("market_ticker") else "event"
    line = Line(
        sequence,
        document.get("timestamp"),
        str(document.get("type", "change")),
        kind,
        ticker,
        str(row.get("title") or ""),
        _changes(table, document),
    )
    return line if line.changes else replace(line, note=_note(table, row))


def _row(document: dict[str, Any]) -> dict[str, Any]:
    for name in ("data", "before", "key"):
        if isinstance(row := document.get(name), dict):
            return row
    return {}


def _ticker(table: str, row: dict[str, Any], document: dict[str, Any]) -> str:
    names: tuple[str, ...] = ("ticker", "event_ticker", "series_ticker", "tier")
    if table == "market_lifecycle_events":
        names = ("market_ticker", "event_ticker")
    found = next((row[name] for name in names if row.get(name)), None)
    return str(found or document.get("ticker") or "")


def _changes(table: str, document: dict[str, Any]) -> list[Changed]:
    changes = document.get("changes")
    if not isinstance(changes, dict) or table not in PUBLISHED:
        return []
    return changes_of(PUBLISHED[table], changes)


def _note(table: str, row: dict[str, Any]) -> str:
    """What there is to say of a row that did not change from something to something."""
    if table == tables.LIFECYCLE.name:
        return " ".join(str(row[name]) for name in ("event_type", "result") if row.get(name))
    if table == "series_fees":
        return (
            f"{row.get('fee_type')} × {row.get('fee_multiplier')} from {row.get('effective_from')}"
        )
    return str(row.get("title") or "")
