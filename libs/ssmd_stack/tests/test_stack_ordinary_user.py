"""The servers as a user without any privilege, in a deep folder with a space in its name."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_RUN = """
import asyncio, os, sys
from pathlib import Path
import psycopg
from ssmd_stack.nats import NatsServer
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.valkey import ValkeyServer

async def main():
    place = Path.cwd() / ".ssmd"
    async with (
        PostgresServer(place / "postgres") as postgres,
        NatsServer(place / "nats"),
        ValkeyServer(place / "valkey"),
    ):
        async with await psycopg.AsyncConnection.connect(postgres.url) as connection:
            found = await connection.execute("SELECT current_user")
            moved = place.joinpath("postgres").is_symlink()
            print(os.geteuid(), (await found.fetchone())[0], moved)

asyncio.run(main())
"""
NOBODY = 65534


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder of nobody's that nobody can reach: pytest's own are closed to others."""
    base = Path(tempfile.mkdtemp(prefix="ssmd-place-"))
    place = base / "a b" / "/".join(["d" * 50] * 6)
    place.mkdir(parents=True)
    base.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    yield place
    shutil.rmtree(base)


def _python() -> str | None:
    """An interpreter of this version that every user can run."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        real = Path(candidate).resolve()
        if real.exists() and all(folder.stat().st_mode & 0o001 for folder in real.parents):
            return candidate
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs as an ordinary user already")
async def test_servers_run_as_nobody(open_place: Path) -> None:
    python = _python()
    if python is None:
        pytest.skip("this interpreter is below a folder that only root can enter")
    run = await asyncio.create_subprocess_exec(
        python, "-c", _RUN,
        cwd=open_place, user=NOBODY, group=NOBODY, extra_groups=[],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
             "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await run.communicate()
    if b"Permission denied" in errors and b"site-packages" in errors:
        pytest.skip("the packages are below a folder that only root can enter")
    assert output.decode().split() == [str(NOBODY), "ssmd", "False"], errors.decode()
