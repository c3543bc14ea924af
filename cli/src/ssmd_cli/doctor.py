"""`ssmd doctor`: checks this machine, a running system and its servers, and says how to mend."""

import asyncio
import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssmd_cli import verbs
from ssmd_cli.environment import quiet_logs
from ssmd_common.exitcodes import ExitCode

if TYPE_CHECKING:
    from ssmd_cli.finding import Finding

app = verbs.single()


@verbs.verb(
    app,
    "doctor",
    "ssmd doctor",
    "ssmd doctor --service cdc",
)
def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    directory: Annotated[Path, typer.Option("--dir", help="As given to `ssmd up`.")] = Path(
        ".ssmd"
    ),
    service: Annotated[
        list[str] | None,
        typer.Option(help="Only what this service needs of its servers; repeatable."),
    ] = None,
) -> None:
    """Look at Python, binaries, ports, disk, permissions and the system if one runs here; if
    DATABASE_URL is set, also at that deployment and at what its services need of their servers.

    With --service only at that: with the settings in the environment, and as their users. Exit
    code 1 if something is wrong, 2 if the settings are.
    """
    quiet_logs()
    findings = _of_services(service) if service else asyncio.run(_of_all(directory.absolute()))
    if as_json:
        documents = [{**asdict(finding), "level": finding.level} for finding in findings]
        typer.echo(json.dumps(documents, indent=1))
    else:
        for finding in findings:
            typer.echo(f"{finding.level:4}  {finding.what}: {finding.detail}")
            if finding.mend:
                typer.echo(f"      → {finding.mend}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def _of_services(services: list[str]) -> "list[Finding]":
    from ssmd_cli.checkup_service import examine, settings_of
    from ssmd_common.parts import SERVICES

    if unknown := [name for name in services if name not in SERVICES]:
        raise typer.BadParameter(
            f"{', '.join(unknown)}: must be some of {', '.join(SERVICES)}", param_hint="--service"
        )
    settings = {service: settings_of(service) for service in dict.fromkeys(services)}
    return asyncio.run(examine(settings))


async def _of_all(directory: Path) -> "list[Finding]":
    from pydantic import SecretStr

    from ssmd_cli.checkup import deployment, machine, running_system, shell
    from ssmd_cli.checkup_service import examine_all
    from ssmd_stack.envfile import read_env

    given, here = os.environ.get("DATABASE_URL"), read_env(directory).get("DATABASE_URL")
    findings = [*machine(directory), *await running_system(directory), *shell(directory)]
    if given and given != here:
        findings += await examine_all(partial(deployment, SecretStr(given)))
    return findings
