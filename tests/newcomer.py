"""A newcomer's machine: a clean clone, `make up`, `make down`, and what they leave behind."""

import json
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from ssmd_stack import forked

ROOT = Path(__file__).parents[1]

# What the tests' own environment must not lend to a newcomer.
_OURS = ("DATABASE_URL", "NATS_URL", "REDIS_URL", "SSMD_", "KALSHI_", "VIRTUAL_ENV", "OPS_PORT")


def clone(directory: Path) -> Path:
    """What a clone of the working tree would hold: every file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, directory / name)
    return directory


def environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OURS) and not name.startswith("PYTEST")
    }


@dataclass(frozen=True, slots=True)
class System:
    """A system that was started in `directory`, and is spoken to with its own `ssmd`.

    If not `own`, with this environment's, without the imports of its start.
    """

    directory: Path
    own: bool = True

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return _checked(done, check)

    def make(self, target: str, arguments: str = "", check: bool = True) -> str:
        done = self.run("make", target, f"ARGS={arguments}", check=check)
        return done.stdout + done.stderr

    def ssmd(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        if self.own:
            return self.run(".venv/bin/ssmd", *arguments, check=check)
        done = forked.run(
            "ssmd_cli", *arguments, env=environment(), cwd=self.directory, seconds=300
        )
        return _checked(done, check)

    @property
    def env(self) -> dict[str, str]:
        """What `.ssmd/env` offers to a shell, read by a shell."""
        done = self.run("sh", "-c", "set -a; . ./.ssmd/env; env -0")
        pairs = (line.partition("=") for line in done.stdout.split("\0") if line)
        return {name: value for name, _, value in pairs}

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ssmd("status", "--json").stdout)
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process that runs from this clone or works on its data."""
        # As root PostgreSQL lives elsewhere, behind a link.
        places = [str(self.directory), str((self.directory / ".ssmd/postgres").resolve())]
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            told = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
            if any(place in part for part in told for place in places):
                found.append(process)
        return found

    def logs(self) -> str:
        """The end of every log, for a failed test's report."""
        parts = []
        for path in sorted((self.directory / ".ssmd/logs").glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-25:]
            parts.append(f"--- {path.name}\n" + "\n".join(line[:600] for line in lines))
        return "\n".join(parts)


def _checked(
    done: "subprocess.CompletedProcess[str]", check: bool
) -> "subprocess.CompletedProcess[str]":
    if check and done.returncode != 0:
        raise AssertionError(
            f"{done.args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return done


def port_is_free(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((parts.hostname or "127.0.0.1", parts.port or 0)) != 0
