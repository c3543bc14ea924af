"""`ssmd up` without --detach: runs the system and shows it until it is told to stop."""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Coroutine
from datetime import UTC, datetime

import typer
from pydantic import SecretStr
from rich.live import Live

from ssmd_cli import picture
from ssmd_cli.console import Terminal
from ssmd_cli.environment import quiet_logs
from ssmd_cli.flow import Look, lines_here
from ssmd_cli.local_key import ensure_key
from ssmd_cli.migrate import migrate
from ssmd_cli.quickstart import quickstart
from ssmd_common.currency import whole_of
from ssmd_common.parts import parts_of
from ssmd_stack.claim import claim
from ssmd_stack.flow import MemberProcess, processes
from ssmd_stack.plan import Plan
from ssmd_stack.system import System

_PICTURE_SECONDS = 30.0
_LOOK_SECONDS = 2.0


async def run(plan: Plan) -> None:
    """Start, show, and stop at SIGINT, SIGTERM or SIGHUP.

    Raises:
        StackError, ConfigurationError: something did not start; everything is stopped again.
    """
    quiet_logs()
    happened: deque[str] = deque(maxlen=6)
    console = Terminal(stderr=True)

    def say(text: str) -> None:
        entry = f"{datetime.now(UTC):%H:%M:%S} {text}"
        happened.append(entry)
        if not console.is_terminal or system.state != "ready":
            typer.echo(entry, err=True)

    async def prepare(database_url: str) -> str:
        url = SecretStr(database_url)
        applied = await migrate(url)
        say(f"database migrated: {', '.join(applied) or 'nothing to do'}")
        return await ensure_key(url, plan.directory, str(plan.exchange))

    system = System(plan, prepare=prepare, say=say)
    with claim(plan.directory):
        stop = asyncio.Event()
        _stop_on_signals(stop)
        try:
            if await _until(stop, system.start()):
                typer.echo(quickstart(plan.directory))
                sys.stdout.flush()
                await _show(system, stop, console, happened)
        finally:
            await system.stop()


async def _until(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Whether the work was done before the stop came; then it is cancelled."""
    task = asyncio.ensure_future(work)
    waiter = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if task.cancelled():
        return False
    task.result()
    return True


async def _show(
    system: System, stop: asyncio.Event, console: Terminal, happened: "deque[str]"
) -> None:
    assert system.addresses is not None
    # What was printed before the picture is soon out of sight.
    where = f"{system.addresses.api_url} · {system.plan.exchange} exchange"
    title = f"{where} · pid {os.getpid()} · Ctrl-C stops"
    async with Look(SecretStr(system.addresses.database_url)) as look:
        if not console.is_terminal:
            await _log_lines(system, stop, look)
            return
        with Live(console=console, auto_refresh=False, transient=False) as screen:
            while not stop.is_set():
                known = await look.now_or_none()
                flows = lines_here(known, _processes(system))
                sentence = whole_of(known, parts_of(known)).sentence if known else ""
                shown = picture.picture(flows, title, list(happened), sentence, width=console.width)
                screen.update(shown, refresh=True)
                await _sleep(stop, 1.0)


def _processes(system: System) -> list[MemberProcess]:
    return processes([member.record() for member in system.members])


async def _log_lines(system: System, stop: asyncio.Event, look: Look) -> None:
    """Whoever becomes ready or stops being so, at once; the whole picture every half minute."""
    ready: dict[str, bool] = {}
    next_picture = 0.0
    while not stop.is_set():
        flows = lines_here(await look.now_or_none(), _processes(system))
        for flow in flows:
            if flow.ready != ready.get(flow.name, True):
                what = (
                    "is ready again" if flow.ready else f"is not ready: {flow.note or flow.state}"
                )
                system.say(f"{flow.name} {what}")
            ready[flow.name] = flow.ready
        if time.monotonic() >= next_picture:
            typer.echo(f"{datetime.now(UTC):%H:%M:%S} {picture.line(flows)}", err=True)
            next_picture = time.monotonic() + _PICTURE_SECONDS
        await _sleep(stop, _LOOK_SECONDS)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


def _stop_on_signals(stop: asyncio.Event) -> None:
    """SIGINT, SIGTERM and a closed terminal set the event; a second Ctrl-C does nothing more."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
