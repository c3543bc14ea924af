"""`ssmd cache verify|rebuild`: whether Redis is what PostgreSQL says, and making it so."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ssmd_cli import verbs
from ssmd_cli.environment import load_env_file, quiet_logs
from ssmd_common.exitcodes import ExitCode

if TYPE_CHECKING:
    import redis.asyncio as aioredis

    from ssmd_cache.settings import CacheSettings
    from ssmd_cache.verify.report import Report

app = verbs.group("Verify or rebuild the Redis cache.")

_REBUILD_SECONDS = 300.0
_SHOWN = 200


@verbs.verb(
    app,
    "verify",
    "ssmd cache verify --sample 1000",
    "ssmd cache verify --fix",
)
def verify_command(
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Compare N markets picked by chance.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compare everything (the default without --sample).")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Have Redis warmed anew if it differs, and compare.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    remote: Annotated[
        bool,
        typer.Option("--remote", help="Have the running cache do it, asked through the API."),
    ] = False,
) -> None:
    """Compare Redis with PostgreSQL, key by key and field by field; exit code 6 if they differ.

    What differs is looked at again a few times, so that changes under way do not count. Rows that
    cannot be read, and so have no key, are named: with them and no difference the exit code is 5.
    With --remote the cache that leads compares everything, and warms Redis anew by itself where it
    differs: SSMD_API_URL is asked with SSMD_DATA_API_KEY, which needs the scope admin.
    """
    if remote:
        if sample is not None or fix:
            raise typer.BadParameter("--remote excludes --sample and --fix")
        _remote(as_json=as_json)
    if sample is not None and full:
        raise typer.BadParameter("--sample and --full exclude each other")

    async def work(settings: "CacheSettings", client: "aioredis.Redis") -> "tuple[Report, bool]":
        from ssmd_cache.warmup.rebuild import rebuild

        report = await _verify(settings, client, sample)
        if not report.differences or not fix:
            return report, False
        _say(f"{len(report.differences)} differences; asking for a warm-up")
        await rebuild(settings, client, deadline_seconds=_REBUILD_SECONDS, say=_say)
        return await _verify(settings, client, sample), True

    report, fixed = _run(work)
    if as_json:
        from msgspec import to_builtins

        typer.echo(json.dumps({**to_builtins(report), "rebuilt": fixed}))
    else:
        _show(report)
    if report.differences:
        raise typer.Exit(ExitCode.DRIFT)
    if report.unreadable:
        # A warm-up would not mend them.
        raise typer.Exit(ExitCode.PARTIAL)


@verbs.verb(app, "rebuild", "ssmd cache rebuild --deadline 60")
def rebuild_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the position as JSON.")] = False,
    deadline_seconds: Annotated[
        float, typer.Option("--deadline", help="Seconds to wait for the cache service.")
    ] = _REBUILD_SECONDS,
) -> None:
    """Fill Redis anew from PostgreSQL, over what is there: readers see no gap.

    The cache service that leads does it; if none runs, this command does.
    """

    async def work(settings: "CacheSettings", client: "aioredis.Redis") -> Any:
        from ssmd_cache.warmup.rebuild import rebuild

        return await rebuild(settings, client, deadline_seconds=deadline_seconds, say=_say)

    position = _run(work)
    if as_json:
        from msgspec import to_builtins

        typer.echo(json.dumps(to_builtins(position)))
    else:
        typer.echo(f"rebuilt at {position.warmed_at}, joined to the stream at {position.sequence}")


def _run(work: "Callable[[CacheSettings, aioredis.Redis], Awaitable[Any]]") -> Any:
    """Run `work` with the stores of the environment, or of `.ssmd/env`."""
    import redis.exceptions

    from ssmd_cache.settings import CacheSettings
    from ssmd_common.connections import redis as redis_connection
    from ssmd_common.errors import UpstreamUnavailable
    from ssmd_common.settings import load

    load_env_file()
    settings = load(CacheSettings).model_copy(update={"startup_budget_seconds": 5.0})
    quiet_logs()

    async def inside() -> Any:
        client = await redis_connection.connect(
            settings,
            "ssmd-cli",
            budget_seconds=settings.startup_budget_seconds,
            service="cache",
        )
        async with contextlib.aclosing(client):
            try:
                return await work(settings, client)
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
                raise UpstreamUnavailable(f"Redis went away ({error}): check REDIS_URL") from error

    return asyncio.run(inside())


async def _verify(
    settings: "CacheSettings", client: "aioredis.Redis", sample: int | None
) -> "Report":
    import psycopg

    from ssmd_cache.verify.verifier import Verifier
    from ssmd_common.connections import postgres
    from ssmd_common.errors import SsmdError
    from ssmd_common.keys import Keys

    connection = await postgres.connect(
        settings.database_url, "ssmd-cli", budget_seconds=settings.startup_budget_seconds
    )
    async with connection:
        keys = Keys(settings.redis_key_prefix)
        try:
            with _progress() as progress:
                verifier = Verifier(connection, client, keys, progress=progress)
                return await (verifier.full() if sample is None else verifier.sample(sample))
        except psycopg.errors.UndefinedTable as error:
            raise SsmdError(
                "the database has no security master yet: run `ssmd db migrate`"
            ) from error


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A line on a terminal, which whatever else is said meanwhile stands above."""
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from ssmd_cli.console import Terminal

    console = Terminal(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.completed} rows compared"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("rows", total=None)
        yield lambda rows: bar.update(task, completed=rows)


def _show(report: "Report") -> None:
    for difference in report.differences[:_SHOWN]:
        expected, found = (json.dumps(v) for v in (difference.expected, difference.found))
        typer.echo(f"{difference.key}\t{difference.field}\texpected {expected}\tfound {found}")
    if (more := len(report.differences) - _SHOWN) > 0:
        typer.echo(f"… and {more} more (--json has all)")
    for row in report.unreadable[:_SHOWN]:
        typer.echo(f"unreadable row in PostgreSQL: {row.table} {row.ticker}: {row.reason}")
    if (more := len(report.unreadable) - _SHOWN) > 0:
        typer.echo(f"… and {more} more rows that cannot be read (--json has all)")
    verdict = f"{len(report.differences)} differences" if report.differences else "no difference"
    typer.echo(f"{verdict} in {report.rows} rows, {report.entries} entries", err=True)


def _remote(*, as_json: bool) -> NoReturn:
    from ssmd_cli.remote import answered

    request = answered("cache/verify")
    found = request["result"]
    if as_json:
        typer.echo(json.dumps(request))
    if found is None:
        _say(f"failed: {request['error']}")
        raise typer.Exit(ExitCode.FAILED)
    if not as_json:
        for each in found["differences"]:
            expected, now = (json.dumps(each[name]) for name in ("expected", "found"))
            typer.echo(f"{each['key']}\t{each['field']}\texpected {expected}\tfound {now}")
        for each in found["unreadable_rows"]:
            row = f"{each['table']} {each['ticker']}: {each['reason']}"
            typer.echo(f"unreadable row in PostgreSQL: {row}")
        _say(f"{found['drift']} differences in {found['rows']} rows, {found['entries']} entries")
    if found["drift"]:
        raise typer.Exit(ExitCode.DRIFT)
    raise typer.Exit(ExitCode.PARTIAL if found["unreadable"] else ExitCode.OK)


def _say(text: str) -> None:
    typer.echo(text, err=True)
