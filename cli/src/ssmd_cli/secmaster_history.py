"""`ssmd secmaster history|diff`: what was known of rows, and when."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
import typer

from ssmd_cli import complete, output, past, verbs
from ssmd_cli.options import AsCsv, AsJson, Environment, Limit, Output, Series
from ssmd_cli.output import Format, Row
from ssmd_common.errors import UpstreamUnavailable

_KINDS: Final = ("markets", "events", "series")
_MOST_SHOWN: Final = 40
"""Characters of a value in a table."""


def add_history(app: typer.Typer) -> None:
    """Add the two verbs."""
    verbs.verb(
        app,
        "history",
        "ssmd secmaster history KXBTCD",
        "ssmd secmaster history prod KXBTCD-26FEB03 --json",
    )(history)
    verbs.verb(
        app,
        "diff",
        "ssmd secmaster diff --from=-24h --series KXBTCD",
        "ssmd secmaster diff prod --from 2026-02-03 --to 2026-02-04 -o csv",
    )(diff)


def history(
    ticker: Annotated[
        list[str],
        typer.Argument(
            metavar="[PROFILE] TICKER",
            help="A market, an event or a series.",
            autocompletion=complete.ticker_after_profile,
        ),
    ],
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Show what was known of a market, an event or a series, and when; the last first."""
    from ssmd_cli.profiles import named_first

    environment, words = named_first(ticker)
    if len(words) != 1:
        raise typer.BadParameter("give one ticker", param_hint="TICKER")
    document, more = _history(words[0], environment, limit or None)
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
        typer.Option(
            "--from", parser=past.moment, metavar="TIME", help="A time, or how long ago (24h)."
        ),
    ],
    end: Annotated[
        str,
        typer.Option(
            "--to", parser=past.moment, metavar="TIME", help="A time, or how long ago (1h)."
        ),
    ] = "-0s",
    environment: Environment = None,
    series: Series = None,
    wanted: Output = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare the universe as of two moments: what was added, removed and changed.

    A row that was soft-deleted counts as removed. Market data are not compared.
    """
    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    found = _diff(environment, begin, past.moment(end), series)
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


def _history(ticker: str, environment: str | None, most: int | None) -> tuple[Any, bool]:
    from ssmd_cli.api import NotFound, connect, segment

    with connect(environment) as api:
        for kind in _KINDS:
            try:
                return api.whole(f"{kind}/{segment(ticker)}/history", {}, most)
            except NotFound:
                continue
    raise NotFound(f"no market, event or series was ever called {ticker!r}, as far as is recorded")


def _diff(environment: str | None, begin: str, end: str, series: str | None) -> list[Row]:
    from ssmd_common.tables import PRIMARY_KEY

    before, after = (_state(environment, at, series) for at in (begin, end))
    return [
        row
        for table in PRIMARY_KEY
        for row in compared(table, before.get(table, {}), after.get(table, {}))
    ]


def _state(environment: str | None, at: str, series: str | None) -> dict[str, dict[str, bytes]]:
    """The rows of each table as of a moment by their keys, without those that are soft-deleted."""
    from ssmd_cli.api import connect
    from ssmd_cli.exporting import lines_of
    from ssmd_common.tables import PRIMARY_KEY

    line_of = msgspec.json.Decoder(_Line)
    state: dict[str, dict[str, bytes]] = {}
    ended = False
    with connect(environment) as api:
        chunks = api.stream("snapshot", {"as_of": at, "series": series})
        for line in map(line_of.decode, lines_of(chunks)):
            ended = ended or line.end
            if line.table is None:
                continue
            raw = bytes(line.data)
            row = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            if bytes(row.get("deleted_at", b"null")) == b"null":
                key = " ".join(
                    str(msgspec.json.decode(row[name])) for name in PRIMARY_KEY[line.table]
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
