"""`ssmd cdc tail|status`: follow the change stream, and see how far its publisher is."""

import asyncio
import contextlib
from typing import Annotated

import typer

from ssmd_cli import verbs
from ssmd_cli.environment import load_env_file, quiet_logs
from ssmd_common.exitcodes import ExitCode

app = verbs.group("Follow the change stream, or see its publisher.")


@verbs.verb(
    app,
    "tail",
    "ssmd cdc tail --series KXBTC15M",
    "ssmd cdc tail --type market_settled --since 24h --json > settled.jsonl",
)
def tail_command(
    series: Annotated[str | None, typer.Option(help="Only this series, by ticker.")] = None,
    table: Annotated[str | None, typer.Option(help="Only this table.")] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="Only this type, e.g. market_settled.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="From here on, else only what is new: a stream sequence (1042), an LSN "
            "(0/16B3748), a time (2026-02-03T22:00:00Z) or an age (15m, 24h, 7d)."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many changes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One message a line, as it is.")] = False,
) -> None:
    """Show changes as they are committed, until Ctrl-C."""
    from ssmd_cli.cdc_tail import tail
    from ssmd_cli.changes import Filter
    from ssmd_cli.since import parse_since
    from ssmd_common.settings import NatsSettings, load
    from ssmd_stream.subjects import TOKEN_COLUMNS

    load_env_file()
    quiet_logs()
    settings = load(NatsSettings)
    if table is not None and table not in TOKEN_COLUMNS:
        # A table that was added to the publication is followed too, so this is not refused.
        typer.echo(
            f"no table of ours is called {table!r} (they are {', '.join(TOKEN_COLUMNS)}): waiting "
            "for its changes all the same",
            err=True,
        )
    wanted = Filter(series, table, type_)
    start = parse_since(since)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(tail(settings, wanted, start, limit=limit, as_json=as_json))


@verbs.verb(app, "status", "ssmd cdc status --json")
def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show the slot, the stream and the epoch.

    Exit code 4 if nothing gets to the stream, 1 if something else is not as it should be.
    """
    import msgspec

    from ssmd_cdc.overview import Overview, overview
    from ssmd_cdc.settings import CdcSettings
    from ssmd_cli.cdc_status import show
    from ssmd_common.connections import nats
    from ssmd_common.settings import load

    load_env_file()
    quiet_logs()
    settings = load(CdcSettings)

    async def look() -> Overview:
        client = await nats.connect(settings, "ssmd-cdc-status", budget_seconds=5)
        try:
            return await overview(settings, client)
        finally:
            await nats.close(client)

    found = asyncio.run(look())
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        show(found)
    if found.stuck:
        raise typer.Exit(ExitCode.UPSTREAM)
    if found.problems:
        raise typer.Exit(ExitCode.FAILED)
