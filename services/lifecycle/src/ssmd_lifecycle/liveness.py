"""Liveness: the clock looks, and no batch has been on its way to PostgreSQL for long."""

import asyncio
from typing import Final

from ssmd_common.runtime import Runtime
from ssmd_lifecycle.apply.recorder import Recorder
from ssmd_lifecycle.clock.scheduler import Scheduler

STUCK_SECONDS: Final = 30.0
_EVERY_SECONDS: Final = 2.0


def is_alive(looked_at: float, busy_since: float | None, now: float) -> bool:
    """Whether both loops go round, in the event loop's time. A silent exchange is no fault."""
    recording = busy_since is None or now - busy_since < STUCK_SECONDS
    return recording and now - looked_at < STUCK_SECONDS


async def run(runtime: Runtime, scheduler: Scheduler, recorder: Recorder) -> None:
    """Tell the service's health of their progress, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        if is_alive(scheduler.looked_at, recorder.busy_since, loop.time()):
            runtime.health.progress()
        await asyncio.sleep(_EVERY_SECONDS)
