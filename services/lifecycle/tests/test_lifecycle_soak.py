"""An hour at the exchange's real rate: nothing grows, nothing is left over (make lifecycle-soak).

Its length is LIFECYCLE_SOAK_SECONDS (3600). Each minute all connections are lost.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any

import psutil
import psycopg
import pytest

from ssmd_simulator.server import Simulator

SOAK_SECONDS = float(os.environ.get("LIFECYCLE_SOAK_SECONDS", "3600"))
SAMPLES = 360
GROWTH_MB = 3.0
"""A message that is kept for ever weighs 3 KB: in half an hour at the real rate, 20 MB."""


@dataclass(frozen=True)
class Sample:
    """What one replica holds at one moment."""

    memory_mb: float
    tasks: float
    sockets: float
    files: float
    threads: float


async def sample(service: Any) -> Sample:
    process = psutil.Process(service.process.pid)
    return Sample(
        memory_mb=process.memory_info().rss / 2**20,
        tasks=await service.metric("ssmd_tasks"),
        sockets=len(process.net_connections("all")),
        files=process.num_fds(),
        threads=process.num_threads(),
    )


def leaks(name: str, samples: Sequence[Sample]) -> list[str]:
    """What grew from the second quarter to the last; what is busy wavers, a leak only grows."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    found = []
    for column in fields(Sample):
        before, after = ([getattr(s, column.name) for s in part] for part in (early, late))
        range_ = f"{min(before):g} to {max(before):g}, then {min(after):g} to {max(after):g}"
        print(f"{name} {column.name}: {range_}")  # noqa: T201 - what the run is for
        if column.name == "memory_mb":
            grew = median(after) - median(before) > GROWTH_MB
        else:
            grew = min(after) > max(before)
        if grew:
            found.append(f"{name} {column.name}: {range_}")
    return found


def test_a_leak_is_seen() -> None:
    steady = Sample(90.0, 20, 8, 30, 1)
    wavering = [replace(steady, memory_mb=90 + n % 3, tasks=20 + n % 5) for n in range(SAMPLES)]
    assert leaks("wavering", wavering) == []
    for column in (field.name for field in fields(Sample)):
        growing = [
            replace(steady, **{column: getattr(steady, column) + n / 30}) for n in range(SAMPLES)
        ]
        assert len(leaks("growing", growing)) == 1


@pytest.mark.slow
@pytest.mark.timeout(SOAK_SECONDS + 1200)
async def test_an_hour_at_the_real_rate_leaves_nothing_behind(
    connection: psycopg.AsyncConnection[Any], start_service: Callable[..., Awaitable[Any]]
) -> None:
    # About four messages a second, as the exchange sends.
    async with Simulator("small", tempo=10, scenarios=0.55, disconnect_every=60) as sim:
        sent: list[float] = []
        sim.exchange.listeners.append(lambda _: sent.append(time.time()))
        leader = await start_service(sim)
        await leader.ready()
        standby = await start_service(sim)
        samples: dict[str, list[Sample]] = {"leader": [], "standby": []}
        began = time.time()
        for number in range(1, SAMPLES + 1):
            await asyncio.sleep(began + number * SOAK_SECONDS / SAMPLES - time.time())
            samples["leader"].append(await sample(leader))
            samples["standby"].append(await sample(standby))
        query = "SELECT count(*) FROM market_lifecycle_events WHERE sent_at IS NOT NULL"
        [stored] = await (await connection.execute(query)).fetchone() or [0]
        gaps = await (
            await connection.execute("SELECT count(*), count(repaired_at) FROM lifecycle_gaps")
        ).fetchone()
        print(f"{len(sent)} messages sent, {stored} stored, gaps and repaired {gaps}")  # noqa: T201
        found = [leak for name, those in samples.items() for leak in leaks(name, those)]
        assert not found, "\n".join(found)
        # It worked meanwhile: a service that does nothing leaks nothing.
        assert stored > 0.8 * len(sent)
        assert gaps is not None
        assert gaps[0] >= SOAK_SECONDS // 60 - 5
        assert gaps[1] >= gaps[0] - 1
        await leader.ready()
