"""A test run that is killed leaves no process, and the next run removes its files."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from ssmd_stack.process import is_alive, wait_for_end
from ssmd_stack.scratch import scratch_directory, sweep

_RUN = """
import asyncio, sys
from ssmd_stack.nats import NatsServer
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.scratch import scratch_directory
from ssmd_stack.valkey import ValkeyServer

async def main():
    with scratch_directory(in_memory=True) as directory:
        async with (
            PostgresServer(directory / "postgres", durable=False) as postgres,
            NatsServer(directory / "nats") as nats,
            ValkeyServer(directory / "valkey") as valkey,
        ):
            print(directory, postgres.home, postgres.pid, nats.pid, valkey.pid, flush=True)
            await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_killed_run_leaves_no_process_and_is_swept() -> None:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN, stdout=asyncio.subprocess.PIPE
    )
    assert run.stdout is not None
    directory, home, *pids = (await run.stdout.readline()).decode().split()
    servers = [psutil.Process(int(pid)) for pid in pids]
    servers += [child for server in servers for child in server.children(recursive=True)]
    assert len(servers) > 3
    assert all(is_alive(server) for server in servers)

    assert Path(directory) not in sweep(min_age_seconds=0), "it has an owner"
    run.send_signal(signal.SIGKILL)
    await run.wait()
    if sys.platform == "linux":
        assert await asyncio.to_thread(wait_for_end, servers, 30.0)
    assert Path(directory) in await asyncio.to_thread(sweep, min_age_seconds=0)
    assert not Path(directory).exists()  # noqa: ASYNC240
    assert not Path(home).exists()  # noqa: ASYNC240
    assert not any(is_alive(server) for server in servers)


def test_young_directories_are_left_alone() -> None:
    with scratch_directory() as directory:
        os.unlink(directory / "owner.lock")  # noqa: PTH108 - as if the lock were not there yet
        assert directory not in sweep()
        assert directory.exists()


@pytest.mark.parametrize("name", ["with a space", "deep/" * 60 + "er"])
async def test_servers_run_in_odd_places(scratch: Path, name: str) -> None:
    from ssmd_stack.nats import NatsServer
    from ssmd_stack.postgres import PostgresServer
    from ssmd_stack.valkey import ValkeyServer

    place = scratch / "odd" / name
    async with (
        PostgresServer(place / "postgres", durable=False) as postgres,
        NatsServer(place / "nats"),
        ValkeyServer(place / "valkey"),
    ):
        assert postgres.running
    postgres.remove()
