"""Reading lifecycle events from the change stream for `ssmd lifecycle tail`."""

import contextlib
import sys
from typing import Any, Final

import msgspec
import psycopg
from rich.text import Text

from ssmd_cli import output
from ssmd_cli.cdc_tail import follow, read
from ssmd_cli.changes import clock
from ssmd_cli.console import Terminal
from ssmd_cli.since import Start
from ssmd_common.connections import nats, postgres
from ssmd_common.errors import MalformedTime
from ssmd_common.settings import NatsSettings, PostgresSettings
from ssmd_common.sql import Queries
from ssmd_common.times import moment
from ssmd_stream import subjects

queries: Final = Queries("ssmd_cli", "lifecycle.sql")

_STYLES: Final = {
    "created": "green",
    "opened": "cyan",
    "activated": "cyan",
    "deactivated": "yellow",
    "closed": "magenta",
    "turned_back": "yellow",
    "determined": "bold",
    "settled": "bold green",
}
_TABLE: Final = "market_lifecycle_events"
_MAX_REMEMBERED: Final = 100_000


def filters(type_: str | None) -> list[str]:
    """What to ask the server for: lifecycle rows, of one type if given, and unreadable ones."""
    if type_ is None:
        return [f"cdc.{_TABLE}.insert.*.>"]
    kind = subjects.token(type_)
    unreadable = [] if kind == subjects.token(None) else [subjects.unreadable_filter(_TABLE)]
    return [f"cdc.{_TABLE}.insert.{kind}.>", *unreadable]


class TailSettings(PostgresSettings, NatsSettings):
    """The stream, and the tables that know a market's series."""


async def tail(
    settings: TailSettings,
    *,
    series: str | None,
    type_: str | None,
    start: Start,
    limit: int | None,
    as_json: bool,
) -> None:
    """Print rows until `limit` are, or for ever."""
    client = await nats.connect(settings, "ssmd-lifecycle-tail", budget_seconds=5)
    places: SeriesOf | None = None
    console = Terminal(soft_wrap=True)
    shown = 0
    try:
        if series is not None:
            places = SeriesOf(
                await postgres.connect(
                    settings.database_url, "ssmd-lifecycle-tail", budget_seconds=5
                )
            )
        async with contextlib.aclosing(follow(client, filters(type_), start)) as followed:
            async for message in followed:
                change = read(message)
                row = change.data if change else None
                if change is not None and change.error:
                    # Whose it is nobody knows: it may be one of those asked for.
                    output.note(f"message {message.sequence}: {change.error}")
                if row is None or (places and await places.of(row) != series):
                    continue
                if as_json:
                    sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
                    sys.stdout.flush()
                else:
                    console.print(line(row))
                shown += 1
                if shown == limit:
                    return
    finally:
        await nats.close(client)
        if places is not None:
            await places.connection.close()


class SeriesOf:
    """The series of lifecycle rows, which only markets and events know; remembered."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection
        self._known: dict[str, str] = {}

    async def of(self, row: dict[str, Any]) -> str | None:
        """None for a market or event that has no row."""
        market, event = (
            value if isinstance(value := row.get(column), str) else None
            for column in ("market_ticker", "event_ticker")
        )
        name = market or event
        if name in self._known:
            return self._known[name]
        try:
            cursor = await self.connection.execute(
                queries.series_of, {"market": market, "event": event}
            )
        except psycopg.DataError:
            # A text that PostgreSQL cannot hold is no ticker of its.
            return None
        found = await cursor.fetchone()
        series: str | None = found[0] if found else None
        if name and series:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[name] = series
        return series


def line(row: dict[str, Any]) -> Text:
    """One row for a person: when, what, whom, and what is known of it."""
    kind = str(row.get("event_type"))
    at = row.get("sent_at") or row.get("received_at")
    text = Text()
    text.append(_clock(str(at)), style="dim")
    text.append(f"  {kind:<29}", style=_STYLES.get(kind, ""))
    text.append(f" {row.get('market_ticker') or row.get('event_ticker') or '?'}", style="bold")
    for name in ("result", "open_ts", "close_ts", "determined_ts", "settled_ts"):
        if row.get(name) is not None:
            text.append(f"  {name} ", style="dim")
            text.append(str(row[name]))
    metadata = row.get("metadata")
    if isinstance(metadata, dict) and (source := metadata.get("source")) is not None:
        text.append("  by the clock" if source == "clock" else "  found over REST", style="dim")
    return text


def _clock(spelling: str) -> str:
    """The time of day; a time that Python cannot hold stays as it is."""
    with contextlib.suppress(MalformedTime):
        if (at := moment(spelling)) is not None:
            return clock(at)
    return spelling
