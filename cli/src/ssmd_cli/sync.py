"""`ssmd series sync`, `ssmd secmaster sync`, `ssmd fees sync`: one run, by hand.

They write to DATABASE_URL directly, as the service does: the same code, the same rules, a row in
`sync_runs` under the job `cli`.
"""

from typing import Annotated, Final, NoReturn

import typer

from ssmd_cli import complete, output
from ssmd_cli.options import AsJson, GamesOnly, Tags
from ssmd_common.errors import ConfigurationError
from ssmd_common.exitcodes import ExitCode

EVERYTHING: Final = "everything"
"""The job of the packaged schedules that reads all."""


Categories = Annotated[
    list[str] | None,
    typer.Option(
        "--category",
        help="One of these categories, as the exchange spells them.",
        autocompletion=complete.categories,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan and its cost; read and write nothing.")
]


def series_sync(
    tag: Tags = None,
    category: Categories = None,
    games_only: GamesOnly = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Read series from the exchange into DATABASE_URL."""
    from ssmd_cli.sync_run import sync
    from ssmd_sync.scope import Mode, Scope

    scope = Scope(
        mode=Mode.SERIES,
        tags=tuple(tag or ()),
        categories=tuple(category or ()),
        games_only=games_only,
    )
    sync(scope, dry_run=dry_run, as_json=as_json)


def secmaster_sync(
    by_series: Annotated[
        bool, typer.Option("--by-series", help="Ask for each series, whatever is cheaper.")
    ] = False,
    tag: Tags = None,
    category: Categories = None,
    games_only: GamesOnly = False,
    active_only: Annotated[
        bool, typer.Option("--active-only", help="Only what trades now.")
    ] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Only what changed since the last run.")
    ] = False,
    min_volume: Annotated[
        int, typer.Option(min=0, help="Only series of at least this volume (series.volume).")
    ] = 0,
    multivariate: Annotated[
        bool,
        typer.Option("--multivariate", help="Also multivariate markets: ten times the rest."),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    remote: Annotated[
        bool,
        typer.Option("--remote", help="Have a running sync do it: a job, through the API."),
    ] = False,
    job: Annotated[
        str, typer.Option(metavar="JOB", help="With --remote: which job of its schedule.")
    ] = EVERYTHING,
) -> None:
    """Read series, events, markets and fees from the exchange into DATABASE_URL.

    With --remote a running sync runs a job of its schedule now, and this command waits for it:
    SSMD_API_URL is asked with SSMD_DATA_API_KEY, which needs the scope admin.
    """
    from ssmd_cli.sync_run import sync
    from ssmd_sync.scope import Mode, Scope

    if remote:
        options = (by_series, tag, category, games_only, active_only, incremental, min_volume)
        if any((*options, multivariate)):
            raise ConfigurationError("with --remote the job says what is read: give --job alone")
        if dry_run:
            raise ConfigurationError("--remote and --dry-run exclude each other: give one")
        _remote(job, as_json=as_json)
    if job != EVERYTHING:
        raise ConfigurationError("--job is for --remote: without it, options say what is read")
    if active_only and incremental:
        raise ConfigurationError("--active-only and --incremental exclude each other: give one")
    if active_only and multivariate:
        raise ConfigurationError(
            "--active-only reads quotes, and of multivariate markets these are not kept: give one"
        )
    mode = Mode.ACTIVE if active_only else Mode.INCREMENTAL if incremental else Mode.FULL
    scope = Scope(
        mode=mode,
        tags=tuple(tag or ()),
        categories=tuple(category or ()),
        games_only=games_only,
        min_volume=min_volume,
        by_series=by_series,
        multivariate=multivariate,
    )
    sync(scope, dry_run=dry_run, as_json=as_json)


def fees_sync(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Read the fee schedules of all series from the exchange into DATABASE_URL."""
    from ssmd_cli.sync_run import sync
    from ssmd_sync.scope import Mode, Scope

    sync(Scope(mode=Mode.FEES), dry_run=dry_run, as_json=as_json)


def _remote(job: str, *, as_json: bool) -> NoReturn:
    from ssmd_cli.api import segment
    from ssmd_cli.remote import answered
    from ssmd_cli.sync_run import COUNTS

    request = answered(f"sync/{segment(job)}")
    result = request["result"] or {}
    if as_json:
        output.document(request)
    elif result:
        columns = ("job", "outcome", "requests", "fetched", *COUNTS, "rejected_rows")
        output.rows([result], columns, output.Format.TABLE)
    if message := request["error"] or result.get("message"):
        output.note(f"{result.get('outcome', request['state'])}: {message}")
    if request["state"] == "failed":
        raise typer.Exit(ExitCode.FAILED)
    raise typer.Exit(ExitCode.OK if result.get("outcome") == "ok" else ExitCode.PARTIAL)
