"""`ssmd doctor`: checks this machine and a running system, and says how to mend."""

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

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
    """Look at Python, binaries, ports, disk, permissions, at the system if one runs here, and at
    the deployment that DATABASE_URL names, if it is set.

    Exit code 1 if something is wrong.
    """
    from ssmd_cli.checkup import deployment, machine, running_system
    from ssmd_stack.envfile import read_env

    quiet_logs()
    directory = directory.absolute()
    given, here = os.environ.get("DATABASE_URL"), read_env(directory).get("DATABASE_URL")
    findings = [*machine(directory), *asyncio.run(running_system(directory))]
    if given and given != here:
        findings += asyncio.run(deployment(SecretStr(given)))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.detail}")
            if finding.mend:
                typer.echo(f"      → {finding.mend}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(ExitCode.FAILED)
