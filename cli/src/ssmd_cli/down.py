"""`ssmd down`: stop what `ssmd up` started, and whatever a killed one left."""

from pathlib import Path
from typing import Annotated

import typer

from ssmd_cli import verbs

app = verbs.single()

_PATIENCE_SECONDS = 90.0


@verbs.verb(app, "down", "ssmd down")
def down_command(
    directory: Annotated[Path, typer.Option("--dir", help="As given to `ssmd up`.")] = Path(
        ".ssmd"
    ),
) -> None:
    """Stop the system in order; it leaves no process and no port. Data stays for the next start."""
    from ssmd_stack.claim import holder_of
    from ssmd_stack.leftovers import end_leftovers

    directory = directory.absolute()
    holder = holder_of(directory)
    if holder is not None and holder.pid:
        typer.echo(f"stopping process {holder.pid}", err=True)
        _stop(holder.pid)
    ended = end_leftovers(directory)
    if holder is None and not ended:
        typer.echo(f"nothing runs in {directory}", err=True)
    else:
        typer.echo("stopped", err=True)


def _stop(pid: int) -> None:
    import psutil

    from ssmd_stack.process import wait_for_end

    try:
        supervisor = psutil.Process(pid)
        supervisor.terminate()
        if not wait_for_end([supervisor], _PATIENCE_SECONDS):
            typer.echo("it does not stop: killing it", err=True)
            supervisor.kill()
            wait_for_end([supervisor], 10)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        typer.echo(f"ssmd: process {pid} belongs to another user: stop it as that user", err=True)
        raise typer.Exit(1) from None
