"""`ssmd series sync`, `ssmd secmaster sync`, `ssmd fees sync`: one run, by hand.

They write to DATABASE_URL directly, as the service does: the same code, the same rules, a row in
`sync_runs` under the job `cli`.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from ssmd_cli import output
from ssmd_cli.options import AsJson, GamesOnly, Tags
from ssmd_common.errors import ConfigurationError
from ssmd_common.exitcodes import ExitCode

if TYPE_CHECKING:
    from ssmd_sync.report import Report
    from ssmd_sync.run import Progress
    from ssmd_sync.scope import Scope

JOB: Final = "cli"
EVERYTHING: Final = "everything"
"""The job of the packaged schedules that reads all."""

_LINE_EVERY_SECONDS: Final = 2.0
_COUNTS: Final = ("inserted", "updated", "unchanged", "deleted")
_COLUMNS: Final = ("table", "fetched", *_COUNTS, "set_aside", "requests", "tokens", "seconds")

_RESULT: Final = ("job", "outcome", "requests", "fetched", *_COUNTS, "set_aside")
"""What is shown of a job that ran elsewhere."""

Categories = Annotated[
    list[str] | None,
    typer.Option("--category", help="One of these categories, as the exchange spells them."),
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
    from ssmd_sync.scope import Mode, Scope

    scope = Scope(
        mode=Mode.SERIES,
        tags=tuple(tag or ()),
        categories=tuple(category or ()),
        games_only=games_only,
    )
    _sync(scope, dry_run=dry_run, as_json=as_json)


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
    from ssmd_sync.scope import Mode, Scope

    if remote:
        if any((by_series, tag, category, games_only, active_only, incremental, min_volume)):
            raise ConfigurationError("with --remote the job says what is read: give --job alone")
        if dry_run:
            raise ConfigurationError("--remote and --dry-run exclude each other: give one")
        _remote(job, as_json=as_json)
    if job != EVERYTHING:
        raise ConfigurationError("--job is for --remote: without it, options say what is read")
    if active_only and incremental:
        raise ConfigurationError("--active-only and --incremental exclude each other: give one")
    mode = Mode.ACTIVE if active_only else Mode.INCREMENTAL if incremental else Mode.FULL
    scope = Scope(
        mode=mode,
        tags=tuple(tag or ()),
        categories=tuple(category or ()),
        games_only=games_only,
        min_volume=min_volume,
        by_series=by_series,
    )
    _sync(scope, dry_run=dry_run, as_json=as_json)


def fees_sync(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Read the fee schedules of all series from the exchange into DATABASE_URL."""
    from ssmd_sync.scope import Mode, Scope

    _sync(Scope(mode=Mode.FEES), dry_run=dry_run, as_json=as_json)


def _remote(job: str, *, as_json: bool) -> NoReturn:
    from ssmd_cli.api_client import segment
    from ssmd_cli.remote import answered

    request = answered(f"sync/{segment(job)}")
    result = request["result"] or {}
    if as_json:
        output.document(request)
    elif result:
        output.rows([result], _RESULT, output.Format.TABLE)
    if message := request["error"] or result.get("message"):
        output.note(f"{result.get('outcome', request['state'])}: {message}")
    if request["state"] == "failed":
        raise typer.Exit(ExitCode.FAILED)
    raise typer.Exit(ExitCode.OK if result.get("outcome") == "ok" else ExitCode.PARTIAL)


def _sync(scope: "Scope", *, dry_run: bool, as_json: bool) -> None:
    output.logs_to_stderr()
    if dry_run:
        asyncio.run(_show_plan(scope, as_json=as_json))
        return
    report = asyncio.run(_run(scope))
    _show(report, as_json=as_json)
    for sentence in report.idle:
        output.note(sentence)
    if report.error is None and scope.restricted and report.tracked == 0:
        output.note("no series is in this scope")
        raise typer.Exit(ExitCode.NOT_FOUND)
    raise typer.Exit(report.exit_code)


async def _run(scope: "Scope") -> "Report":
    from ssmd_common.settings import load
    from ssmd_store.pages import Store
    from ssmd_sync.exchange import Exchange
    from ssmd_sync.service import run_job
    from ssmd_sync.settings import SyncSettings

    settings = load(SyncSettings)
    stop = asyncio.Event()
    # The first Ctrl-C lets the batch at hand be written and the run be recorded as stopped.
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    exchange = Exchange(settings, stop)
    with _progress() as progress:
        async with Store.open(
            settings.database_url, "ssmd-cli-sync", settings.startup_budget_seconds
        ) as store:
            return await run_job(JOB, scope, store, exchange, progress=progress)


async def _show_plan(scope: "Scope", *, as_json: bool) -> None:
    from ssmd_common.settings import load
    from ssmd_store.pages import Store
    from ssmd_sync.plan import plan_markets, plan_series
    from ssmd_sync.runlog import RunLog
    from ssmd_sync.settings import SyncSettings

    settings = load(SyncSettings)
    async with Store.open(
        settings.database_url, "ssmd-cli-sync", settings.startup_budget_seconds
    ) as store:
        log = RunLog(store.connection)
        known = await log.known()
        tracked = scope.tracked(await log.series())
    plan = plan_series(scope, known).then(plan_markets(scope, known, tracked, datetime.now(UTC)))
    requests: Counter[str] = Counter()
    for step in plan.steps:
        requests[step.title] += step.requests
    document = {
        "steps": [{"step": title, "requests": number} for title, number in requests.items()],
        "series": len(tracked),
        "requests": plan.requests,
        "tokens": plan.tokens,
        "seconds": round(plan.seconds(settings.kalshi_read_budget), 1),
    }
    if as_json:
        output.document(document)
        return
    output.rows(document["steps"], ("step", "requests"), output.Format.TABLE)  # type: ignore[arg-type]
    output.note(
        f"about {plan.requests} requests, {plan.tokens} tokens, {document['seconds']} s at "
        f"{settings.kalshi_read_budget:g} tokens per second"
    )
    if not known.events:
        output.note("the database is empty: sizes are those of the exchange in August 2026")


def _show(report: "Report", *, as_json: bool) -> None:
    tables = [*report.written, *(name for name in report.fetched if name not in report.written)]
    found: list[dict[str, Any]] = [
        {
            "table": name,
            "fetched": report.fetched.get(name, 0),
            **{
                count: getattr(report.written[name], count) if name in report.written else 0
                for count in _COUNTS
            },
        }
        for name in tables
    ]
    total = {
        "table": "all",
        "fetched": sum(report.fetched.values()),
        **{count: sum(row[count] for row in found) for count in _COUNTS},
        "set_aside": len(report.set_aside),
        "requests": report.requests,
        "tokens": report.tokens,
        "seconds": round(report.seconds, 1),
    }
    if as_json:
        output.document(
            {
                "outcome": report.outcome,
                "message": report.sentence,
                "tables": found,
                "total": total,
                "set_aside": [
                    {"ticker": row.ticker, "reason": row.reason} for row in report.set_aside
                ],
                "rejected_fields": report.rejected_fields(),
            }
        )
    else:
        output.rows([*found, total], _COLUMNS, output.Format.TABLE)
        for row in report.set_aside[:20]:
            output.note(f"set aside {row.ticker or 'a row'}: {row.reason}")
        _note_rejected_fields(report)
    if report.outcome != "ok":
        output.note(f"{report.outcome}: {report.sentence or 'some rows were set aside'}")


def _note_rejected_fields(report: "Report") -> None:
    """A line for each field, with the first rows that were stored without it."""
    by_field: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for (table, ticker, name), reason in report.rejected.items():
        by_field.setdefault((table, name), []).append((ticker, reason))
    for (table, name), found in by_field.items():
        tickers = ", ".join(ticker for ticker, _ in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        output.note(
            f"rejected field {table}.{name} of {len(found)} rows ({tickers}{more}): {found[0][1]}; "
            "stored values stay, the rest of each row is written"
        )
    if report.more_rejected:
        output.note(f"rejected fields: {report.more_rejected} more")


@contextmanager
def _progress() -> Iterator["Progress"]:
    """A bar with the time that is left on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("requests", total=None)

        def show(report: "Report") -> None:
            bar.update(
                task,
                total=max(report.planned_requests, report.requests) or None,
                completed=report.requests,
                description=f"{report.fetched.get('markets', 0)} markets",
            )

        yield show


def _lines() -> "Progress":
    last = time.monotonic()

    def show(report: "Report") -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_SECONDS:
            last = time.monotonic()
            output.note(
                f"requests={report.requests} planned={report.planned_requests} "
                f"markets={report.fetched.get('markets', 0)} "
                f"inserted={report.total('inserted')} updated={report.total('updated')}"
            )

    return show
