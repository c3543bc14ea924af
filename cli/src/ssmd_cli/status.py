"""`ssmd status`: how every part is, once, from the table in which the services say it."""

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ssmd_cli import verbs
from ssmd_cli.environment import ENV_FILE, quiet_logs
from ssmd_common.errors import UpstreamUnavailable
from ssmd_common.exitcodes import ExitCode

if TYPE_CHECKING:
    from pydantic import SecretStr

    from ssmd_cli.flow import Line
    from ssmd_common.parts import Known
    from ssmd_stack.flow import SystemRecord

app = verbs.single()


class System(NamedTuple):
    """What is looked at: a database, and the record of a system on this machine, if it is one.

    Without a database it is a system that begins to start, or has all but stopped.
    """

    url: "SecretStr | None"
    record: "SystemRecord | None"


@verbs.verb(app, "status", "ssmd status --json")
def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="As given to `ssmd up`; default .ssmd, or whatever DATABASE_URL names."
        ),
    ] = None,
) -> None:
    """Each part's state, rate, lag and last error; how current and how complete the whole is.

    Exit code 1: something is not ready; 3: nothing runs here, and DATABASE_URL is not set; 4:
    PostgreSQL does not answer; 6: the database lacks a migration.
    """
    from ssmd_cli.flow import lines_here, lines_of, look_once

    quiet_logs()
    system = find(directory)
    if system is None:
        if as_json:
            typer.echo(json.dumps({"state": "down", "services": {}, "servers": {}}))
        place = (directory or ENV_FILE.parent).absolute()
        what = "start it with `ssmd up`, or set DATABASE_URL"
        typer.echo(f"nothing runs in {place}: {what}", err=True)
        raise typer.Exit(ExitCode.NOT_FOUND)
    known: Known | None = None
    try:
        if system.url is not None:
            known = asyncio.run(look_once(system.url))
    except UpstreamUnavailable as error:
        if system.record is None:
            raise
        typer.echo(f"ssmd: {error}", err=True)
    if system.record is not None:
        from ssmd_stack.flow import processes

        lines = lines_here(known, processes(system.record.members))
    else:
        assert known is not None
        lines = lines_of(known)
    ready = known is not None and all(line.ready for line in lines)
    if as_json:
        import msgspec

        document = _document(system.record, known, lines, ready=ready)
        typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=1).decode())
    else:
        _show(system.record, known, lines, ready=ready)
    if known is None and system.url is not None:
        raise typer.Exit(ExitCode.UPSTREAM)
    if not ready:
        raise typer.Exit(ExitCode.FAILED)


def find(directory: Path | None) -> System | None:
    """The system in a directory, else the one that DATABASE_URL names, else the one in .ssmd."""
    from pydantic import SecretStr

    given = None if directory is not None else os.environ.get("DATABASE_URL")
    try:
        from ssmd_stack.claim import holder_of
        from ssmd_stack.envfile import read_env
        from ssmd_stack.flow import SystemRecord
    except ImportError:
        # An installation that starts no systems.
        return System(SecretStr(given), None) if given else None
    place = (directory or ENV_FILE.parent).absolute()
    here = read_env(place).get("DATABASE_URL")
    record = SystemRecord.read(place) if holder_of(place) is not None else None
    if record is not None and given in (None, here):
        return System(SecretStr(here) if here else None, record)
    return System(SecretStr(given), None) if given else None


def _document(
    record: "SystemRecord | None", known: "Known | None", lines: "list[Line]", *, ready: bool
) -> dict[str, Any]:
    from ssmd_common import currency
    from ssmd_common.parts import SERVICES

    whole = {} if known is None else currency.document(known)
    told: dict[str, dict[str, Any]] = whole.pop("services", {})
    shown = {line.name: {**told.get(line.name, {}), **asdict(line)} for line in lines}
    state = record.state if record is not None and record.state != "ready" else None
    return {
        "state": state or ("ready" if ready else "not ready"),
        "pid": record and record.pid,
        "exchange": record and record.exchange,
        "started_at": record and record.started_at,
        "api_url": record and record.api_url,
        **whole,
        "ready": ready,
        "services": {n: part for n, part in shown.items() if n in SERVICES or n in told},
        "servers": {n: part for n, part in shown.items() if n not in SERVICES and n not in told},
    }


def _show(
    record: "SystemRecord | None", known: "Known | None", lines: "list[Line]", *, ready: bool
) -> None:
    from ssmd_cli import picture
    from ssmd_cli.console import Terminal
    from ssmd_common.currency import whole_of
    from ssmd_common.parts import parts_of

    state = "ready" if ready else "not ready"
    title = state
    if record is not None:
        state = state if record.state == "ready" else record.state
        title = f"{state} · {record.exchange} exchange · pid {record.pid}"
        if record.api_url:
            title += f" · {record.api_url}"
    console = Terminal()
    console.print(picture.picture(lines, title, width=console.width))
    if known is not None:
        whole = whole_of(known, parts_of(known))
        console.print(picture.legs(whole, known))
        console.print(whole.sentence, soft_wrap=True)
