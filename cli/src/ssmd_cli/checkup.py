"""What `ssmd doctor` looks at. A finding says what was seen and, if wrong, how to mend it."""

import asyncio
import importlib.util
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import aiohttp
from pydantic import SecretStr

from ssmd_cli.environment import differing
from ssmd_cli.finding import Finding, Unreached
from ssmd_cli.flow import Line, Look, lines_here, lines_of, look_once
from ssmd_cli.migrate import states
from ssmd_cli.quickstart import near
from ssmd_common.currency import whole_of
from ssmd_common.errors import SsmdError
from ssmd_common.parts import SERVICES, Known, parts_of
from ssmd_stack import account, binaries
from ssmd_stack.claim import holder_of
from ssmd_stack.envfile import read_env
from ssmd_stack.flow import SystemRecord, processes
from ssmd_stack.kept_ports import kept_ports
from ssmd_stack.ports import free_port
from ssmd_stack.servers import stack_kind

_ENOUGH_DISK_BYTES: Final = 2_000_000_000
_ENOUGH_FILES: Final = 1024
_PATIENCE: Final = timedelta(minutes=10)


def machine(directory: Path) -> Iterator[Finding]:
    """Everything that `ssmd up` needs of this machine."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding.of("Python", sys.version_info >= (3, 11), version, "use Python 3.11 or newer")
    yield _packages()
    yield _attempt("stack", lambda: f"{stack_kind()} servers")
    for name, find in (
        ("PostgreSQL", lambda: binaries.postgres_bin_dir() / "postgres"),
        ("NATS", binaries.nats_server),
        ("Valkey", binaries.valkey_server),
    ):
        yield _attempt(name, lambda find=find: _version_of(find()))  # type: ignore[misc]
    yield _attempt("account", _account)
    for place in (directory, Path(tempfile.gettempdir())):
        yield _disk(place)
    yield _attempt("ports", lambda: f"127.0.0.1:{free_port()} is free, for example")
    # Services go up to the hard limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Finding.of("open files", most >= _ENOUGH_FILES, str(most), f"ulimit -Hn {_ENOUGH_FILES}")
    yield from _private_files(directory)


def shell(directory: Path) -> list[Finding]:
    """Whether this shell's addresses are those of the system of the directory, and that runs."""
    env = read_env(directory)
    if names := differing(env):
        found = f"not of the system that runs in {directory}"
        mend = f"`set -a; . {near(directory)}/env; set +a`, unless another system is meant"
    elif not env and (names := _leading_to(set(kept_ports(directory).values()))):
        found = f"of the system in {directory}, which does not run"
        mend = "`ssmd up` starts it, with the same addresses"
    else:
        return []
    return [Finding.warning("this shell", f"{', '.join(names)}: {found}", mend)]


def _leading_to(ports: set[int]) -> list[str]:
    """The variables whose address is one of these ports of this machine."""
    ours = re.compile(r"[@/]127\.0\.0\.1:(\d+)")
    return [
        name
        for name in ("DATABASE_URL", "NATS_URL", "REDIS_URL", "SSMD_API_URL")
        if (at := ours.search(os.environ.get(name, ""))) and int(at[1]) in ports
    ]


async def running_system(directory: Path) -> list[Finding]:
    """The system in the directory, if one runs or ran there."""
    holder, record, env = holder_of(directory), SystemRecord.read(directory), read_env(directory)
    if holder is None:
        if not env and record is None:
            return [Finding("system", True, f"nothing runs in {directory}")]
        return [
            Finding(
                "system", False, "it was killed, and its addresses are still there",
                "`ssmd up` starts it again; `ssmd down` clears them",
            )
        ]  # fmt: skip
    if record is None:
        return [
            Finding("system", False, f"process {holder.pid} holds {directory} and starts or stops",
                    f"wait, or look at {directory}/logs/supervisor.log")
        ]  # fmt: skip
    findings = [Finding("system", True, f"{record.state}, process {record.pid}")]
    known: Known | None = None
    if "DATABASE_URL" in env:
        async with Look(SecretStr(env["DATABASE_URL"])) as look:
            known = await look.now_or_none()
    for line in lines_here(known, processes(record.members)):
        log = directory / "logs" / f"{line.name}.log"
        findings.append(_part(line, f"look at {log}"))
    if known is not None:
        findings.append(_whole(known))
    if "DATABASE_URL" in env:
        findings += await asyncio.gather(_migrations(env["DATABASE_URL"]), _api(env))
    return findings


async def deployment(url: SecretStr) -> list[Finding]:
    """The services that write to a database, wherever they run.

    Raises:
        Unreached: the database does not answer.
    """
    try:
        known = await look_once(url)
    except SsmdError as error:
        raise Unreached(Finding.failed("PostgreSQL", error, "check DATABASE_URL")) from error
    parts = [_part(line, "look at its log") for line in lines_of(known)]
    return [*parts, _whole(known), await _migrations(url.get_secret_value())]


def _part(line: Line, mend: str) -> Finding:
    detail = line.state + (f" ({line.note})" if line.note else "")
    return Finding.of(line.name, line.ready, detail, mend)


def _whole(known: Known) -> Finding:
    whole = whole_of(known, parts_of(known))
    since = whole.incomplete_since
    # A start, or a gap that is being repaired, is nothing to be mended.
    fine = since is None or known.now - since < _PATIENCE
    return Finding.of(
        "the whole", fine, whole.sentence, "look at the parts above, and at lifecycle_gaps"
    )


def _attempt(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except (SsmdError, OSError, subprocess.SubprocessError) as error:
        return Finding.failed(what, error, "run `make setup` again")


def _packages() -> Finding:
    needed = [*(f"ssmd_{name}" for name in SERVICES), "ssmd_simulator"]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    detail = f"missing: {', '.join(missing)}" if missing else "all installed"
    return Finding.of("packages", not missing, detail, "run `make setup`")


def _version_of(binary: Path) -> str:
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return f"{done.stdout.strip() or done.stderr.strip()} at {binary}"


def _account() -> str:
    other = account.postgres_account()
    if other is None:
        return f"user id {os.geteuid()}, which also runs PostgreSQL"
    return f"root; PostgreSQL runs as user id {other.uid}"


def _disk(place: Path) -> Finding:
    existing = next(folder for folder in (place, *place.parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            f"disk {place}", False, "not writable", f"give this user {existing}, or use --dir"
        )
    return Finding.of(
        f"disk {place}",
        free >= _ENOUGH_DISK_BYTES,
        f"{free / 1e9:.1f} GB free",
        "make room: 2 GB are needed",
    )


def _private_files(directory: Path) -> Iterator[Finding]:
    files = [directory / name for name in ("env", "api-key")]
    if given := os.environ.get("KALSHI_PRIVATE_KEY_PATH"):
        files.append(Path(given))
    for file in files:
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except FileNotFoundError:
            if str(file) == given:
                yield Finding(
                    "private key", False, f"{file} does not exist", "mend KALSHI_PRIVATE_KEY_PATH"
                )
            continue
        yield Finding.of(
            f"permissions of {file.name}",
            not mode & 0o077,
            f"{mode:o}",
            f"others can read it: chmod 600 {file}",
        )


async def _migrations(url: str) -> Finding:
    try:
        found = await states(SecretStr(url), budget_seconds=3)
    except SsmdError as error:
        return Finding("migrations", False, str(error), "`ssmd down`, then `ssmd up`")
    missing = [state.name for state in found if state.applied_at is None]
    detail = f"missing: {', '.join(missing)}" if missing else f"{len(found)} applied"
    return Finding.of("migrations", not missing, detail, "run `ssmd db migrate`")


async def _api(env: dict[str, str]) -> Finding:
    url = f"{env['SSMD_API_URL']}/v1/series?limit=1"
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(url, headers={"X-API-Key": env["SSMD_DATA_API_KEY"]}) as response,
        ):
            ok, detail = response.status == 200, f"{url} answers {response.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        ok, detail = False, f"{url} does not answer ({type(error).__name__})"
    mend = "`ssmd down`, then `ssmd up`; it makes a key if needed"
    return Finding.of("API key", ok, detail, mend)
