"""`ssmd secmaster sync|list|show|search|export|stats|history|diff`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ssmd_cli import complete, output, verbs
from ssmd_cli.options import (
    AsCsv,
    AsJson,
    Categories,
    Count,
    Environment,
    Fields,
    GamesOnly,
    Limit,
    Multivariate,
    Output,
    SomeSeries,
    Tags,
    Watch,
    Where,
    Words,
    use_local_system,
)
from ssmd_cli.output import Format
from ssmd_cli.past import AsOf
from ssmd_cli.secmaster_history import add_history
from ssmd_cli.syncverbs import add_sync

app = verbs.group(
    "List, show, search and export events and markets, with their history; sync them.",
    use_local_system,
)

COLUMNS: Final = (
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


Statuses = Annotated[
    list[Status] | None,
    typer.Option(
        metavar="STATUS", help="open (not yet closed), active, closed or settled; repeatable."
    ),
]


@verbs.verb(
    app,
    "list",
    "ssmd secmaster list --category Crypto --status open --limit 5",
    "ssmd secmaster list --expiring-within 24h --fields ticker,close_time -o csv",
    "ssmd secmaster list prod --series KXBTCD --watch 2",
    "ssmd secmaster list --multivariate only --fields ticker,status,mve_selected_legs -o jsonl",
    "ssmd secmaster list --where open_interest.gte=5 --sort -open_interest --count exact",
)
def list_markets(
    environment: Environment = None,
    category: Categories = None,
    status: Statuses = None,
    series: SomeSeries = None,
    event: Annotated[
        list[str] | None, typer.Option(help="Markets of one of these events; repeatable.")
    ] = None,
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
    multivariate: Multivariate = None,
    where: Where = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="Columns with commas between: ticker, close_time, volume …; -volume descends."
        ),
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
    """List markets."""
    from ssmd_cli.listing import Asked, show
    from ssmd_cli.where import filters

    statuses = [str(one) for one in status or ()]
    if expiring_within is not None:
        _check_expiring(expiring_within, closing_before, closing_after)
        closing_after, closing_before = "0s", expiring_within
        statuses = statuses or ["open"]
        sort = sort or "close_time"
    query = {
        "category": category or (),
        "status": statuses,
        "series": series or (),
        "event": event or (),
        "tag": tag or (),
        "games_only": "true" if games_only else None,
        "closing_before": closing_before,
        "closing_after": closing_after,
        "min_volume": min_volume,
        "q": q,
        "multivariate": multivariate and str(multivariate),
        "sort": sort,
        "as_of": as_of,
        "count": count and str(count),
        **filters(where),
    }
    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    show(Asked("markets", query, COLUMNS, style, limit, fields, watch, environment))


@verbs.verb(
    app,
    "show",
    "ssmd secmaster show KXBTCD",
    "ssmd secmaster show prod KXBTCD-26FEB03-T97500.99 --json",
)
def show_one(
    ticker: Annotated[
        list[str],
        typer.Argument(
            metavar="[PROFILE] TICKER",
            help="A market, an event or a series.",
            autocompletion=complete.ticker_after_profile,
        ),
    ],
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show one market, event or series with what belongs to it, and a market's life."""
    from ssmd_cli.profiles import named_first
    from ssmd_cli.showing import show

    environment, words = named_first(ticker)
    if len(words) != 1:
        raise typer.BadParameter("give one ticker", param_hint="TICKER")
    show(words[0], environment, as_of, as_json=as_json)


@verbs.verb(
    app, "search", "ssmd secmaster search bitcoin above", "ssmd secmaster search fed --kind event"
)
def search(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[PROFILE] WORDS...", help="Words in tickers and titles."),
    ],
    kind: Annotated[
        list[Kind] | None,
        typer.Option(help="series, event or market; repeatable.", metavar="KIND"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")] = 20,
    wanted: Output = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Find series, events and markets by words, the best first."""
    from ssmd_cli.api import connect
    from ssmd_cli.profiles import named_first

    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    environment, words = named_first(words)
    query: dict[str, Any] = {
        "q": " ".join(words),
        "kind": [str(one) for one in kind or ()],
        "limit": limit,
    }
    with connect(environment) as api:
        found = api.get("search", query)["results"]
    output.rows(found, ("kind", "ticker", "status", "title"), style)


@verbs.verb(
    app,
    "export",
    "ssmd secmaster export --status open --file markets.parquet",
    "ssmd secmaster export prod --entity series -o csv > series.csv",
)
def export(
    environment: Environment = None,
    entity: Annotated[
        Entity, typer.Option(help="Which list: series, events or markets.", metavar="LIST")
    ] = Entity.MARKETS,
    category: Categories = None,
    status: Statuses = None,
    series: SomeSeries = None,
    tag: Tags = None,
    multivariate: Multivariate = None,
    where: Where = None,
    as_of: AsOf = None,
    fields: Fields = None,
    wanted: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FORMAT",
            help="json (one array), jsonl, csv or parquet; by default as the file is called, "
            "else json.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Where to; it appears when it is whole."),
    ] = None,
) -> None:
    """Write a whole list, of one state of the database."""
    from ssmd_cli.exporting import export_to, format_of
    from ssmd_cli.where import filters

    query = {
        "entity": str(entity),
        "category": category or (),
        "status": [str(one) for one in status or ()],
        "series": series or (),
        "tag": tag or (),
        "multivariate": multivariate and str(multivariate),
        "fields": fields,
        "as_of": as_of,
        **filters(where),
    }
    export_to(environment, query, format_of(wanted, file), file)


@verbs.verb(app, "stats", "ssmd secmaster stats")
def stats(environment: Environment = None, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Count series and markets, and say when each sync job last succeeded."""
    from ssmd_cli.api import connect

    with connect(environment) as api:
        found = {name: api.get(f"stats/{name}", {"as_of": as_of}) for name in ("series", "markets")}
        if as_of is None:
            # Runs have times of their own.
            found["sync"] = api.get("stats/sync")
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
    jobs: list[Any] = [
        {"job": job, "last_success_at": row["last_success_at"], **row["last_run"]}
        for job, row in found["sync"]["jobs"].items()
    ]
    columns = ("job", "last_success_at", "outcome", "fetched", "inserted", "updated", "deleted")
    output.rows(jobs, columns, Format.TABLE)


add_history(app)
add_sync(app, "secmaster_sync")


def _check_expiring(within: str, before: str | None, after: str | None) -> None:
    import re

    if before or after:
        raise typer.BadParameter(
            "excludes --closing-before and --closing-after", param_hint="--expiring-within"
        )
    if not re.fullmatch(r"\d+[smhdw]", within):
        raise typer.BadParameter(
            f"{within!r} is not a time such as 90m, 24h or 7d", param_hint="--expiring-within"
        )
