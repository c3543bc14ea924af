"""`ssmd series sync|list`."""

from typing import Annotated, Final

import typer

from ssmd_cli import output, verbs
from ssmd_cli.options import (
    AsCsv,
    AsJson,
    Categories,
    Count,
    Environment,
    Fields,
    GamesOnly,
    Limit,
    Output,
    Tags,
    Watch,
    Where,
    Words,
    use_local_system,
)
from ssmd_cli.past import AsOf
from ssmd_cli.syncverbs import add_sync

app = verbs.group("Sync and list series.", use_local_system)
add_sync(app, "series_sync")

COLUMNS: Final = ("ticker", "category", "title", "tags", "volume", "active")


@verbs.verb(
    app,
    "list",
    "ssmd series list --category Crypto --active",
    "ssmd series list prod --fields ticker,volume -o csv --limit 0",
)
def list_series(
    environment: Environment = None,
    category: Categories = None,
    tag: Tags = None,
    games_only: GamesOnly = False,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Only those (not) in use.")
    ] = None,
    q: Words = None,
    where: Where = None,
    sort: Annotated[
        str | None,
        typer.Option(help="Columns with commas between: ticker, volume; -volume descends."),
    ] = None,
    limit: Limit = 100,
    count: Count = None,
    as_of: AsOf = None,
    fields: Fields = None,
    watch: Watch = None,
    wanted: Output = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List series."""
    from ssmd_cli.listing import Asked, show
    from ssmd_cli.where import filters

    query = {
        "category": category or (),
        "tag": tag or (),
        "games_only": "true" if games_only else None,
        "active": None if active is None else str(active).lower(),
        "q": q,
        "sort": sort,
        "as_of": as_of,
        "count": count and str(count),
        **filters(where),
    }
    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    show(Asked("series", query, COLUMNS, style, limit, fields, watch, environment))
