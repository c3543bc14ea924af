"""A service that gets a twentieth of a core goes on: nothing is given up for its own lateness."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import psycopg
import pytest

from ssmd_simulator.control import ScriptedMarket
from ssmd_simulator.server import Simulator

STANDS_SECONDS, RUNS_SECONDS = 0.95, 0.05


@asynccontextmanager
async def starving(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """While inside, the process runs for a twentieth of the time."""

    async def starve() -> None:
        try:
            while True:
                process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(STANDS_SECONDS)
                process.send_signal(signal.SIGCONT)
                await asyncio.sleep(RUNS_SECONDS)
        finally:
            process.send_signal(signal.SIGCONT)

    task = asyncio.create_task(starve())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_starved_service_records_and_turns_without_a_new_start(
    connection: psycopg.AsyncConnection[Any],
    start_service: Callable[..., Awaitable[Any]],
    eventually: Callable[..., Awaitable[Any]],
) -> None:
    async with Simulator("tiny") as sim:
        service = await start_service(sim, LIFECYCLE_SILENCE_SECONDS="12")
        await service.ready()
        gaps = "SELECT count(*) FROM lifecycle_gaps"
        before = await (await connection.execute(gaps)).fetchone()
        async with starving(service.process):
            [made] = sim.control.script(ScriptedMarket(open_in=1, close_in=3600))

            async def reaches(status: str) -> None:
                async def there() -> bool:
                    cursor = await connection.execute(
                        "SELECT status FROM markets WHERE ticker = %s", (made.ticker,)
                    )
                    return await cursor.fetchone() == (status,)

                await eventually(f"it is {status}", there, within=240)

            # Each step once the one before it is taken: however late, it is taken for itself.
            await reaches("active")
            sim.exchange.move_close(made, sim.clock(), sim.clock())
            await reaches("closed")
            sim.exchange.determine(made, "yes", inf, sim.clock())
            sim.exchange.settle(made, sim.clock())
            await reaches("settled")
            lived = ["created", "opened", "close_date_updated", "closed", "determined", "settled"]

            async def told() -> bool:
                cursor = await connection.execute(
                    "SELECT array_agg(event_type ORDER BY id) FROM market_lifecycle_events"
                    " WHERE market_ticker = %s",
                    (made.ticker,),
                )
                return await cursor.fetchone() == (lived,)

            # REST may say that it is settled before the message is taken.
            await eventually("a row for each step", told, within=240)
        assert service.process.returncode is None, service.logs()
        # No connection was given up.
        assert await (await connection.execute(gaps)).fetchone() == before
