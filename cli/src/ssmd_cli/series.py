"""`ssmd series sync|list`."""

import asyncio
from typing import Annotated, Any

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
from ssmd_cli.past import AsOf
from ssmd_cli.syncverbs import add_sync

app = typer.Typer(no_args_is_help=True, help="Sync and list series.", callback=use_local_system)
add_sync(app, "series_sync")


@app.command("list")
def list_series(
    category: Category = None,
    tag: Tags = None,
    games_only: GamesOnly = False,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Only those (not) in use.")
    ] = None,
    q: Words = None,
    as_of: AsOf = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List series from the API."""
    style = output.chosen(as_json=as_json, as_csv=as_csv)
    query = {
        "category": category,
        "tag": tag,
        "games_only": "true" if games_only else None,
        "active": None if active is None else str(active).lower(),
        "q": q,
        "as_of": as_of,
    }
    found, more = asyncio.run(_fetch(query, limit))
    output.rows(found, ("ticker", "category", "title", "tags", "volume", "active"), style)
    if more:
        output.note(f"there are more than {limit}: see --limit")


async def _fetch(query: dict[str, Any], limit: int) -> tuple[list[Any], bool]:
    from ssmd_cli.api_client import connect

    async with connect() as api:
        return await api.rows("series", query, limit or None)
