"""Reading lifecycle events from the change stream for `ssmd lifecycle tail`."""

import sys
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg
from rich.console import Console
from rich.text import Text

from ssmd_cli.cdc_tail import Start, follow
from ssmd_common import subjects
from ssmd_common.change import decode
from ssmd_common.connections import nats, postgres
from ssmd_common.settings import NatsSettings, PostgresSettings
from ssmd_common.sql import Queries

queries: Final = Queries("ssmd_cli", "lifecycle.sql")

_STYLES: Final = {
    "created": "green",
    "opened": "cyan",
    "activated": "cyan",
    "deactivated": "yellow",
    "closed": "magenta",
    "determined": "bold",
    "settled": "bold green",
}
_MAX_REMEMBERED: Final = 100_000


def subject(type_: str | None) -> str:
    """What to ask the server for: lifecycle rows, of one type if given."""
    kind = "*" if type_ is None else subjects.token(type_)
    return f"cdc.market_lifecycle_events.insert.{kind}.>"


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
    console = Console(highlight=False, soft_wrap=True)
    shown = 0
    try:
        if series is not None:
            places = SeriesOf(
                await postgres.connect(
                    settings.database_url, "ssmd-lifecycle-tail", budget_seconds=5
                )
            )
        async for message in follow(client, [subject(type_)], start):
            row = decode(message.data).data
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
        market, event = row.get("market_ticker"), row.get("event_ticker")
        name = market or event
        if name in self._known:
            return self._known[name]
        cursor = await self.connection.execute(
            queries.series_of, {"market": market, "event": event}
        )
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
    text.append(datetime.fromisoformat(str(at)).strftime("%H:%M:%S.%f")[:12], style="dim")
    text.append(f"  {kind:<29}", style=_STYLES.get(kind, ""))
    text.append(f" {row.get('market_ticker') or row.get('event_ticker') or '?'}", style="bold")
    for name in ("result", "open_ts", "close_ts", "determined_ts", "settled_ts"):
        if row.get(name) is not None:
            text.append(f"  {name} ", style="dim")
            text.append(str(row[name]))
    source = (row.get("metadata") or {}).get("source")
    if source is not None:
        text.append("  by the clock" if source == "clock" else "  found over REST", style="dim")
    return text
