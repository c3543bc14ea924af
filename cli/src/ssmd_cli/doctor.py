"""`ssmd doctor`: checks this machine and a running system, and says how to mend."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ssmd_cli.environment import quiet_logs
from ssmd_common.exitcodes import ExitCode

app = typer.Typer(add_completion=False)


@app.command("doctor")
def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    directory: Annotated[Path, typer.Option("--dir", help="As given to `ssmd up`.")] = Path(
        ".ssmd"
    ),
) -> None:
    """Look at Python, binaries, ports, disk, permissions, and at the system if one runs.

    Exit code 1 if something is wrong.
    """
    from ssmd_cli.checkup import machine, running_system

    quiet_logs()
    directory = directory.absolute()
    findings = [*machine(directory), *asyncio.run(running_system(directory))]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.detail}")
            if finding.mend:
                typer.echo(f"      → {finding.mend}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(ExitCode.FAILED)
