"""`ssmd lifecycle tail|status`: follow what happens to markets, and see how its service stands."""

import asyncio
import contextlib
from typing import Annotated

import typer

from ssmd_cli import output, verbs
from ssmd_cli.environment import load_env_file, quiet_logs
from ssmd_common.exitcodes import ExitCode

app = verbs.group("Follow what happens to markets and events.")


@verbs.verb(
    app,
    "tail",
    "ssmd lifecycle tail --type settled",
    "ssmd lifecycle tail --series KXBTCD --since 24h --json > events.jsonl",
)
def tail_command(
    series: Annotated[str | None, typer.Option(help="Only this series, by ticker.")] = None,
    type_: Annotated[
        str | None,
        typer.Option("--type", help="Only this type, e.g. created, opened, determined, settled."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="From here on, else only what is new: a stream sequence (1042), a time "
            "(2026-02-03T22:00:00Z) or an age (15m, 24h, 7d)."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One row a line, as JSON.")] = False,
) -> None:
    """Show lifecycle events as they are committed, until Ctrl-C."""
    from ssmd_cli.lifecycle_tail import TailSettings, tail
    from ssmd_cli.since import parse_since
    from ssmd_common.settings import load

    load_env_file()
    output.logs_to_stderr()
    settings = load(TailSettings)
    start = parse_since(since)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            tail(
                settings,
                series=series,
                type_=type_,
                start=start,
                limit=limit,
                as_json=as_json,
            )
        )


@verbs.verb(app, "status", "ssmd lifecycle status")
def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show the last messages, what the clock does next and what was missed. Exit code 1 if
    something is not as it should be."""
    import msgspec

    from ssmd_cli.lifecycle_status import look, show
    from ssmd_common.settings import PostgresSettings, load

    load_env_file()
    quiet_logs()
    settings = load(PostgresSettings)
    found = asyncio.run(look(settings.database_url))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        show(found)
    if found.problems:
        raise typer.Exit(ExitCode.FAILED)
