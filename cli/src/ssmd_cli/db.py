"""`ssmd db migrate|status`: the schema of the database."""

import asyncio
import json
from typing import Annotated

import typer

from ssmd_cli import verbs
from ssmd_cli.environment import quiet_logs
from ssmd_cli.options import use_local_system
from ssmd_common.exitcodes import ExitCode

app = verbs.group("Migrate the database, or say what is missing.", use_local_system)


@verbs.verb(app, "migrate", "ssmd db migrate")
def migrate_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the names as JSON.")] = False,
) -> None:
    """Apply the migrations that are missing in DATABASE_URL. Two at once are safe."""
    from ssmd_cli.migrate import migrate
    from ssmd_common.settings import PostgresSettings, load

    quiet_logs(waits=True)
    settings = load(PostgresSettings)
    applied = asyncio.run(
        migrate(
            settings.database_url,
            budget_seconds=settings.startup_budget_seconds,
            waiting=lambda: typer.echo("another migration runs; waiting for it", err=True),
        )
    )
    if as_json:
        typer.echo(json.dumps({"applied": applied}))
        return
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to do: every migration is applied", err=True)


@verbs.verb(app, "status", "ssmd db status --json")
def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the migrations; exit code 6 if the database lacks one of them."""
    from ssmd_cli.migrate import states
    from ssmd_common.settings import PostgresSettings, load

    quiet_logs(waits=True)
    settings = load(PostgresSettings)
    found = asyncio.run(
        states(settings.database_url, budget_seconds=settings.startup_budget_seconds)
    )
    if as_json:
        rows = [
            {
                "migration": state.name,
                "applied_at": state.applied_at and state.applied_at.isoformat(),
                "known": state.is_known,
            }
            for state in found
        ]
        typer.echo(json.dumps({"migrations": rows}))
    else:
        for state in found:
            when = f"{state.applied_at:%Y-%m-%d %H:%M:%S} UTC" if state.applied_at else "missing"
            note = "" if state.is_known else "  (unknown to this version of ssmd)"
            typer.echo(f"{state.name:<40} {when}{note}")
    if any(state.applied_at is None for state in found):
        raise typer.Exit(ExitCode.DRIFT)
