"""`ssmd up --detach`: the same command in a session of its own, watched until it is ready."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import typer
from pydantic import SecretStr

from ssmd_cli.environment import quiet_logs
from ssmd_cli.flow import until_told
from ssmd_cli.quickstart import quickstart
from ssmd_common.exitcodes import ExitCode
from ssmd_stack.claim import claim
from ssmd_stack.envfile import read_env
from ssmd_stack.flow import SystemRecord
from ssmd_stack.plan import Plan

_POLL_SECONDS = 0.05
_TOLD_SECONDS = 15.0


def start_and_wait(plan: Plan, arguments: Sequence[str]) -> int:
    """The exit code: OK once everything is ready, else the one the system ended with.

    Its progress is passed on to stderr and its quickstart to stdout. Ctrl-C stops it again.

    Raises:
        DirectoryInUse, ConfigurationError, PortInUse: at once, before anything is started.
    """
    quiet_logs()
    with claim(plan.directory):
        plan.check()
    logs = plan.directory / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / "supervisor.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "ssmd_cli", *arguments],
            stdin=subprocess.DEVNULL,
            # The quickstart shows the API key, which belongs in no log: it is printed below.
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
        )
    shown = 0
    try:
        while True:
            code = child.poll()
            text = log.read_text(errors="replace")
            shown = _pass_on(text, shown)
            if code is not None:
                return code
            record = SystemRecord.read(plan.directory)
            if record is not None and record.pid == child.pid and record.state == "ready":
                # What they say to their supervisor they tell the database a moment later.
                url = SecretStr(read_env(plan.directory)["DATABASE_URL"])
                asyncio.run(until_told(url, patience_seconds=_TOLD_SECONDS))
                typer.echo(quickstart(plan.directory))
                return ExitCode.OK
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
        child.wait()
        return 130


def _pass_on(text: str, shown: int) -> int:
    whole = text.rfind("\n") + 1
    if whole > shown:
        typer.echo(text[shown:whole], err=True, nl=False)
    return max(whole, shown)
