"""The same tests on a Redis, where the machine has one; they run on Valkey everywhere."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

# The one of each command and script that the cache uses, and the others.
SUITES = (
    "writer",
    *(
        pytest.param(suite, marks=pytest.mark.slow)
        for suite in ("follow", "join", "expiry", "servers", "verify")
    ),
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("suite", SUITES)
async def test_redis_serves_as_valkey_does(suite: str) -> None:
    redis_server = shutil.which("redis-server")
    if redis_server is None:
        pytest.skip("this machine has no redis-server (Debian: apt-get install redis-server)")
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0",
        Path(__file__).with_name(f"test_cache_{suite}.py"),
        env={**os.environ, "SSMD_VALKEY_SERVER": redis_server},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()
