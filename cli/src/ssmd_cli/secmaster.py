"""`ssmd secmaster sync|list|show|search|export|stats|history|diff`."""

import asyncio
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer

from ssmd_cli import output
from ssmd_cli.options import (
    AsCsv,
    AsJson,
    Category,
    GamesOnly,
    Limit,
    Tags,
    Words,
    use_local_system,
)
from ssmd_cli.output import Format
from ssmd_cli.past import AsOf
from ssmd_cli.secmaster_history import diff, history
from ssmd_cli.syncverbs import add_sync

app = typer.Typer(
    no_args_is_help=True,
    help="Sync, list and show events and markets.",
    callback=use_local_system,
)
add_sync(app, "secmaster_sync")
app.command("history")(history)
app.command("diff")(diff)

_COLUMNS: Final = (
    "ticker",
    "status",
    "close_time",
    "yes_bid_dollars",
    "yes_ask_dollars",
    "volume",
    "title",
)


class Status(StrEnum):
    """A market's; `open` is not yet closed."""

    OPEN = "open"
    ACTIVE = "active"
    CLOSED = "closed"
    SETTLED = "settled"


class Kind(StrEnum):
    SERIES = "series"
    EVENT = "event"
    MARKET = "market"


class Entity(StrEnum):
    SERIES = "series"
    EVENTS = "events"
    MARKETS = "markets"


class ExportFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


@app.command("list")
def list_markets(
    category: Category = None,
    status: Annotated[
        list[Status] | None, typer.Option(help="open is not yet closed; repeatable.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Markets of this series.")] = None,
    event: Annotated[str | None, typer.Option(help="Markets of this event.")] = None,
    tag: Tags = None,
    games_only: GamesOnly = False,
    expiring_within: Annotated[
        str | None, typer.Option(help="Not yet closed, and closing within a time such as 24h.")
    ] = None,
    closing_before: Annotated[
        str | None, typer.Option(help="Closing before a time (ISO 8601), or 24h from now.")
    ] = None,
    closing_after: Annotated[
        str | None, typer.Option(help="Closing at or after a time, or 24h from now.")
    ] = None,
    min_volume: Annotated[
        int | None, typer.Option(min=0, help="Contracts of the market traded at least.")
    ] = None,
    q: Words = None,
    sort: Annotated[
        str | None, typer.Option(help="ticker, close_time, volume …; -volume descends.")
    ] = None,
    as_of: AsOf = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List markets from the API."""
    style = output.chosen(as_json=as_json, as_csv=as_csv)
    statuses = [str(wanted) for wanted in status or ()]
    if expiring_within is not None:
        if closing_before or closing_after:
            raise typer.BadParameter("--expiring-within excludes --closing-before and -after")
        if not re.fullmatch(r"\d+[smhdw]", expiring_within):
            raise typer.BadParameter(
                f"{expiring_within!r} is not a time such as 90m, 24h or 7d",
                param_hint="--expiring-within",
            )
        closing_after, closing_before = "0s", expiring_within
        statuses = statuses or ["open"]
        sort = sort or "close_time"
    query = {
        "category": category,
        "status": statuses,
        "series": series,
        "event": event,
        "tag": tag,
        "games_only": "true" if games_only else None,
        "closing_before": closing_before,
        "closing_after": closing_after,
        "min_volume": min_volume,
        "q": q,
        "sort": sort,
        "as_of": as_of,
    }
    found, more = asyncio.run(_list(query, limit))
    output.rows(found, _COLUMNS, style)
    if more:
        output.note(f"there are more than {limit}: see --limit")


@app.command("show")
def show(
    ticker: Annotated[str, typer.Argument(help="A market, an event or a series.")],
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show one market, event or series with what belongs to it."""
    kind, document = asyncio.run(_show(ticker, as_of))
    if as_json:
        output.document(document)
        return
    output.fields(document)
    match kind:
        case "events":
            output.rows(document["markets"], _COLUMNS[:6], Format.TABLE)
        case "series":
            counts = [{"of": of, **by_status} for of, by_status in document["counts"].items()]
            output.rows(counts, ("of", "open", "active", "closed", "settled"), Format.TABLE)
        case _:
            pass


@app.command("search")
def search(
    words: Annotated[list[str], typer.Argument(help="Words in tickers and titles.")],
    kind: Annotated[list[Kind] | None, typer.Option(help="One of these; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")] = 20,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Find series, events and markets by words, the best first."""
    style = output.chosen(as_json=as_json, as_csv=as_csv)
    kinds = [str(wanted) for wanted in kind or ()]
    query = {"q": " ".join(words), "kind": kinds, "limit": limit}
    found = asyncio.run(_get("search", query))["results"]
    output.rows(found, ("kind", "ticker", "status", "title"), style)


@app.command("export")
def export(
    entity: Annotated[Entity, typer.Option(help="Which list.")] = Entity.MARKETS,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="The form of the lines.")
    ] = ExportFormat.CSV,
    category: Category = None,
    status: Annotated[
        list[Status] | None, typer.Option(help="open is not yet closed; repeatable.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="What belongs to this series.")] = None,
    tag: Tags = None,
    as_of: AsOf = None,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; it appears when it is whole.")
    ] = None,
) -> None:
    """Write a whole list, of one state of the database."""
    query = {
        "entity": str(entity),
        "format": str(form),
        "category": category,
        "status": [str(wanted) for wanted in status or ()],
        "series": series,
        "tag": tag,
        "as_of": as_of,
    }
    if to is None:
        asyncio.run(_export(query, sys.stdout.buffer))
        return
    part = to.with_name(f"{to.name}.part")
    try:
        with part.open("wb") as file:
            asyncio.run(_export(query, file))
        part.replace(to)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@app.command("stats")
def stats(as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Count series and markets, and say when each sync job last succeeded."""
    found = asyncio.run(_stats(as_of))
    if as_json:
        output.document(found)
        return
    markets = found["markets"]
    categories = [{"category": row["category"], "markets": row["markets"], **row["by_status"]}
                  for row in markets["by_category"]]  # fmt: skip
    total = {"category": "all", "markets": markets["markets"], **markets["by_status"]}
    output.rows([*categories, total], ("category", "markets", *map(str, Status)), Format.TABLE)
    closing = ", ".join(
        f"{count} within {time}" for time, count in markets["closing_within"].items()
    )
    output.note(f"closing: {closing}")
    if as_of is not None:
        return
    jobs = [
        {"job": job, "last_success_at": row["last_success_at"], **row["last_run"]}
        for job, row in found["sync"]["jobs"].items()
    ]
    columns = ("job", "last_success_at", "outcome", "fetched", "inserted", "updated", "deleted")
    output.rows(jobs, columns, Format.TABLE)


async def _get(path: str, query: dict[str, Any]) -> Any:
    from ssmd_cli.api_client import connect

    async with connect() as api:
        return await api.get(path, query)


async def _stats(as_of: str | None) -> Any:
    from ssmd_cli.api_client import connect

    async with connect() as api:
        found = {
            name: await api.get(f"stats/{name}", {"as_of": as_of}) for name in ("series", "markets")
        }
        # Runs have times of their own.
        return found if as_of else {**found, "sync": await api.get("stats/sync")}


async def _export(query: dict[str, Any], file: BinaryIO) -> None:
    from ssmd_cli.api_client import connect

    async with connect() as api:
        async for chunk in api.stream("export", query):
            file.write(chunk)
    file.flush()


async def _list(query: dict[str, Any], limit: int) -> tuple[list[Any], bool]:
    from ssmd_cli.api_client import connect

    async with connect() as api:
        return await api.rows("markets", query, limit or None)


async def _show(ticker: str, as_of: str | None) -> tuple[str, Any]:
    from ssmd_cli.api_client import NotFound, connect, segment

    async with connect() as api:
        for kind in ("markets", "events", "series"):
            try:
                return kind, await api.get(f"{kind}/{segment(ticker)}", {"as_of": as_of})
            except NotFound:
                continue
    raise NotFound(f"no market, event or series is called {ticker!r}")
