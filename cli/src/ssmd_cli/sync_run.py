"""Runs a sync by hand, with a bar, and prints what it did."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import typer

from ssmd_cli import output
from ssmd_cli.unmatched import names_of, sentences
from ssmd_common.exitcodes import ExitCode

if TYPE_CHECKING:
    from ssmd_sync.plan import Known
    from ssmd_sync.report import Report
    from ssmd_sync.run import Progress
    from ssmd_sync.scope import Scope, SeriesFacts

JOB: Final = "cli"

_LINE_EVERY_SECONDS: Final = 2.0
COUNTS: Final = ("inserted", "updated", "unchanged", "deleted")
_COLUMNS: Final = ("table", "fetched", *COUNTS, "rejected_rows", "requests", "tokens", "seconds")


def sync(scope: "Scope", *, dry_run: bool, as_json: bool) -> None:
    """Run it, or print its plan; ends with the run's exit code."""
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
        series = await log.series()
    tracked = scope.tracked(series)
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
    else:
        _show_steps(document, known, settings.kalshi_read_budget)
    if series:
        # A run asks the exchange for its words; a plan asks for nothing.
        for sentence in _unmatched(scope, series):
            output.note(sentence)
        if scope.restricted and not tracked:
            output.note("no series is in this scope")
            raise typer.Exit(ExitCode.NOT_FOUND)


def _unmatched(scope: "Scope", series: "list[SeriesFacts]") -> list[str]:
    """A sentence for each category and tag of the scope that no series has."""
    names = names_of((each.category, each.tags) for each in series)
    return sentences(names, scope.categories, scope.tags)


def _show_steps(document: dict[str, Any], known: "Known", budget: float) -> None:
    output.rows(document["steps"], ("step", "requests"), output.Format.TABLE)
    output.note(
        f"about {document['requests']} requests, {document['tokens']} tokens, "
        f"{document['seconds']} s at {budget:g} tokens per second"
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
                for count in COUNTS
            },
        }
        for name in tables
    ]
    total = {
        "table": "all",
        "fetched": sum(report.fetched.values()),
        **{count: sum(row[count] for row in found) for count in COUNTS},
        "rejected_rows": len(report.rejected_rows),
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
                "rejected_rows": [
                    {"ticker": row.ticker, "reason": row.reason} for row in report.rejected_rows
                ],
                "rejected_fields": report.rejected_fields(),
            }
        )
    else:
        output.rows([*found, total], _COLUMNS, output.Format.TABLE)
        for row in report.rejected_rows[:20]:
            output.note(f"rejected {row.ticker or 'a row'}: {row.reason}")
        _note_rejected_fields(report)
    if report.outcome != "ok":
        output.note(f"{report.outcome}: {report.sentence or 'some rows were rejected'}")


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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from ssmd_cli.console import Terminal

    console = Terminal(stderr=True)
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
