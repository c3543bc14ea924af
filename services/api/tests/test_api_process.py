"""The service as a process: it starts, answers, and stops cleanly."""

import asyncio
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from api_testbed import make_key

from ssmd_stack.database import Database
from ssmd_stack.ports import free_port
from ssmd_stack.valkey import ValkeyServer

FEW_FILES = 256


def few_open_files() -> None:
    """As many systems begin a user's process: a soft limit, far below the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, hard))


async def answers(
    url: str, headers: dict[str, str] | None = None, status: int = 200, state: str | None = None
) -> Any:
    """The document at a URL, once it answers with that status, and names that state."""
    async with asyncio.timeout(180), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url, headers=headers) as reply:
                    if reply.status == status:
                        document = await reply.json(content_type=None)
                        if state is None or document["state"] == state:
                            return document
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("universe")
async def test_it_serves_with_redis_or_without_and_stops_on_sigterm(
    database: Database, tmp_path: Path
) -> None:
    api, ops = free_port(), free_port()
    redis = ValkeyServer(tmp_path / "valkey", port=free_port())
    key = await make_key(database, "read")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ssmd_api",
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database.url,
            "REDIS_URL": redis.url,
            "API_HOST": "127.0.0.1",
            "API_PORT": str(api),
            "OPS_HOST": "127.0.0.1",
            "OPS_PORT": str(ops),
        },
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=few_open_files,
    )
    try:
        ready = await answers(f"http://127.0.0.1:{ops}/readyz")
        assert ready["state"] == "serving without redis"
        assert (await answers(f"http://127.0.0.1:{api}/readyz"))["ready"]
        soft, _ = psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft > FEW_FILES
        found = await answers(f"http://127.0.0.1:{api}/v1/markets", {"X-API-Key": key})
        assert len(found["markets"]) == 7
        for act, state in (
            (redis.start, "serving"),
            (redis.kill, "serving without redis"),
            (redis.start, "serving"),
        ):
            await act()
            await answers(f"http://127.0.0.1:{ops}/readyz", state=state)
        process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.wait_for(process.communicate(), 180)
    finally:
        await redis.stop()
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[-1]["event"] == "service stopped"
    assert key not in out.decode()
    async with database.connect() as connection:
        row = await (await connection.execute("SELECT last_used_at FROM api_keys")).fetchone()
    assert row
    assert row[0] is not None, "the last use was not written before the end"
