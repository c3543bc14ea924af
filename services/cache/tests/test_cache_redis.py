"""The same tests on a Redis, where the machine has one; they run on Valkey everywhere."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

SUITES = ("sink", "follow", "join", "expiry", "servers", "verify")


@pytest.mark.timeout(600)
async def test_redis_serves_as_valkey_does() -> None:
    redis_server = shutil.which("redis-server")
    if redis_server is None:
        pytest.skip("this machine has no redis-server (Debian: apt-get install redis-server)")
    here = Path(__file__)
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0",
        *(here.with_name(f"test_cache_{suite}.py") for suite in SUITES),
        env={**os.environ, "SSMD_VALKEY_SERVER": redis_server},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()
