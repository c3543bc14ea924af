"""`ssmd status`: the picture of what flows, once."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ssmd_common.exitcodes import ExitCode

app = typer.Typer(add_completion=False)

_RATE_WINDOW_SECONDS = 1.0


@app.command("status")
def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    directory: Annotated[Path, typer.Option("--dir", help="As given to `ssmd up`.")] = Path(
        ".ssmd"
    ),
) -> None:
    """Each part's state, rate, lag and last error. Exit code 3: nothing runs there."""
    from ssmd_stack.claim import holder_of
    from ssmd_stack.flow import MemberFlow, Observer, SystemRecord
    from ssmd_stack.plan import SERVICES

    directory = directory.absolute()
    record = SystemRecord.read(directory)
    if holder_of(directory) is None or record is None:
        if as_json:
            typer.echo(json.dumps({"state": "down", "services": {}, "servers": {}}))
        typer.echo(f"nothing runs in {directory}: start it with `ssmd up`", err=True)
        raise typer.Exit(ExitCode.NOT_FOUND)

    async def look() -> list[MemberFlow]:
        async with Observer() as observer:
            await observer.look(record.members)
            await asyncio.sleep(_RATE_WINDOW_SECONDS)
            return await observer.look(record.members)

    flows = asyncio.run(look())
    if as_json:
        parts = {flow.name: asdict(flow) for flow in flows}
        document = {
            "state": record.state,
            "pid": record.pid,
            "exchange": record.exchange,
            "started_at": record.started_at,
            "api_url": record.api_url,
            "services": {name: part for name, part in parts.items() if name in SERVICES},
            "servers": {name: part for name, part in parts.items() if name not in SERVICES},
        }
        typer.echo(json.dumps(document, indent=1))
    else:
        from rich.console import Console

        from ssmd_cli import picture

        title = f"{record.state} · {record.exchange} exchange · pid {record.pid}"
        Console().print(picture.picture(flows, title))
