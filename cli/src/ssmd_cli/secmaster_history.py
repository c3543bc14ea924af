"""`ssmd secmaster history|diff`: what was known of rows, and when."""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
import typer

from ssmd_cli import output, past
from ssmd_cli.options import AsCsv, AsJson, Limit
from ssmd_cli.output import Format, Row
from ssmd_common.errors import UpstreamUnavailable

_KINDS: Final = ("markets", "events", "series")
_KEYS: Final = {
    "series": ("ticker",),
    "events": ("event_ticker",),
    "markets": ("ticker",),
    "series_fees": ("series_ticker", "effective_from"),
    "fees": ("tier",),
}
_MOST_SHOWN: Final = 40
"""Characters of a value in a table."""


def history(
    ticker: Annotated[str, typer.Argument(help="A market, an event or a series.")],
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Show what was known of a market, an event or a series, and when; the last first."""
    document, more = asyncio.run(_history(ticker, limit or None))
    if as_json:
        output.document(document)
        return
    shown = [
        {"at": each["at"], "change": each["kind"], "what": _what(each["changes"])}
        for each in document["history"]
    ]
    output.rows(shown, ("at", "change", "what"), Format.TABLE)
    output.note(f"the record begins at {document['record_begins']}")
    if more:
        output.note(f"there are more than {limit}: see --limit")


def diff(
    begin: Annotated[
        str,
        typer.Option("--from", parser=past.moment, metavar="TIME", help="A time, or -24h."),
    ],
    end: Annotated[
        str,
        typer.Option("--to", parser=past.moment, metavar="TIME", help="A time, or -1h."),
    ] = "-0s",
    series: Annotated[str | None, typer.Option(help="What belongs to this series.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare the universe as of two moments: what was added, removed and changed.

    A row that was soft-deleted counts as removed. Market data are not compared.
    """
    style = output.chosen(as_json=as_json, as_csv=as_csv)
    found = asyncio.run(_diff(begin, past.moment(end), series))
    if style is Format.TABLE:
        found = [{**row, "what": _what(row["changes"])} for row in found]
    output.rows(found, ("change", "table", "key", "what"), style)


def compared(table: str, before: dict[str, bytes], after: dict[str, bytes]) -> Iterator[Row]:
    """What differs between two states of a table, each its rows as JSON by their keys."""
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        was = {} if old is None else msgspec.json.decode(old)
        now = {} if new is None else msgspec.json.decode(new)
        change = "added" if old is None else "removed" if new is None else "changed"
        yield {
            "change": change,
            "table": table,
            "key": key,
            "row": was if new is None else now,
            "changes": {
                name: {"old": was[name], "new": now[name]}
                for name in now
                if change == "changed" and was[name] != now[name]
            },
        }


async def _history(ticker: str, most: int | None) -> tuple[Any, bool]:
    from ssmd_cli.api_client import PAGE, NotFound, connect, segment

    async with connect() as api:
        for kind in _KINDS:
            path, cursor = f"{kind}/{segment(ticker)}/history", None
            found: list[Any] = []
            try:
                while True:
                    left = PAGE if most is None else min(PAGE, most - len(found))
                    document = await api.get(path, {"limit": left, "cursor": cursor})
                    found += document["history"]
                    cursor = document["cursor"]
                    if cursor is None or (most is not None and len(found) >= most):
                        return {**document, "history": found}, cursor is not None
            except NotFound:
                continue
    raise NotFound(f"no market, event or series was ever called {ticker!r}, as far as is recorded")


async def _diff(begin: str, end: str, series: str | None) -> list[Row]:
    before, after = await _state(begin, series), await _state(end, series)
    return [
        row
        for table in _KEYS
        for row in compared(table, before.get(table, {}), after.get(table, {}))
    ]


async def _state(at: str, series: str | None) -> dict[str, dict[str, bytes]]:
    """The rows of each table as of a moment by their keys, without those that are soft-deleted."""
    from ssmd_cli.api_client import connect

    line_of = msgspec.json.Decoder(_Line)
    state: dict[str, dict[str, bytes]] = {}
    ended = False
    async with connect() as api:
        rest = b""
        async for chunk in api.stream("snapshot", {"as_of": at, "series": series}):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in map(line_of.decode, lines):
                ended = ended or line.end
                if line.table is None:
                    continue
                raw = bytes(line.data)
                row = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
                if bytes(row.get("deleted_at", b"null")) == b"null":
                    key = " ".join(
                        str(msgspec.json.decode(row[name])) for name in _KEYS[line.table]
                    )
                    state.setdefault(line.table, {})[key] = raw
    if not ended:
        raise UpstreamUnavailable("the reply of the API broke off: nothing can be compared")
    return state


class _Line(msgspec.Struct):
    """A line of a snapshot."""

    table: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    end: bool = False


def _what(changes: Row) -> str:
    return "; ".join(
        f"{name}: {_short(each['old'])} → {_short(each['new'])}" for name, each in changes.items()
    )


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
