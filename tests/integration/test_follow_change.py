"""The script of `helm test`: it follows a change through services, and says where one stays."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from topology import Service, Topology, execute

from ssmd_stack import forked
from ssmd_stack.database import Database
from ssmd_stack.ports import free_port

SCRIPT = Path(__file__).parents[2] / "deploy/helm/ssmd/files/follow_change.py"
WAY = ("lifecycle", "cdc", "cache", "api")


def environment(services: Topology, url: str, api: int) -> dict[str, str]:
    words = ("keys", "create", "helm-test", "--scope", "read")
    made = forked.run("ssmd_cli", *words, env={"DATABASE_URL": url})
    made.check_returncode()
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": url,
        "REDIS_URL": services.environment["REDIS_URL"],
        "SSMD_API_URL": f"http://127.0.0.1:{api}",
        "SSMD_DATA_API_KEY": made.stdout.strip(),
    }


async def follow(told: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", SCRIPT.read_text(), *arguments],
        env=told, capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip


async def rows(url: str) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found = await connection.execute("SELECT to_jsonb(series) FROM series ORDER BY ticker")
        return await found.fetchall()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_change_is_followed_and_where_it_stays_is_told(
    services: Topology, database: Database
) -> None:
    await execute(
        database.url,
        "INSERT INTO series (ticker, title, category) VALUES ('A%B:C', 'x', 'World')",
    )
    api = free_port()
    running: dict[str, Service] = {}
    for name in WAY:
        running[name] = await services.start(name, database.url, API_PORT=str(api))
    for service in running.values():
        await service.ready()
    told = environment(services, database.url, api)
    before = await rows(database.url)

    simulator = services.environment["KALSHI_BASE_URL"].removesuffix("/trade-api/v2")
    done = await follow(told, "--redis", "--simulator", simulator)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(" in ")[0] for line in (lines[0], lines[2])] == [
        "A%B:C went from PostgreSQL to the API",
        f"{lines[2].split()[0]} went from the exchange to the API",
    ]
    assert lines[1].startswith("A%B:C was in Redis")
    # What was there is as it was.
    assert [row for row in await rows(database.url) if row in before] == before

    soon = {**told, "FOLLOW_SECONDS": "2"}
    await running["cache"].close()
    done = await follow(soon, "--redis")
    assert done.returncode == 1
    assert re.fullmatch(r"within 2 s the change of \S+ did not come to Redis\n", done.stderr)
    await running["cdc"].close()
    done = await follow(soon, "--redis")
    assert done.returncode == 1
    assert re.match(r"within 2 s the change of \S+ did not come out of http", done.stderr)
