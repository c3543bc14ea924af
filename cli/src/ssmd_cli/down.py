"""`ssmd down`: stop what `ssmd up` started, and whatever a killed one left."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

_PATIENCE_SECONDS = 90.0
_POLL_SECONDS = 0.05


@app.command("down")
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
        _signal(holder.pid, signal.SIGTERM)
        if not _released(directory, _PATIENCE_SECONDS):
            typer.echo("it does not stop: killing it", err=True)
            _signal(holder.pid, signal.SIGKILL)
            _released(directory, 10)
    ended = end_leftovers(directory)
    if holder is None and not ended:
        typer.echo(f"nothing runs in {directory}", err=True)
    else:
        typer.echo("stopped", err=True)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        typer.echo(f"ssmd: process {pid} belongs to another user: stop it as that user", err=True)
        raise typer.Exit(1) from None


def _released(directory: Path, patience_seconds: float) -> bool:
    from ssmd_stack.claim import holder_of

    give_up = time.monotonic() + patience_seconds
    while holder_of(directory) is not None:
        if time.monotonic() > give_up:
            return False
        time.sleep(_POLL_SECONDS)
    return True
