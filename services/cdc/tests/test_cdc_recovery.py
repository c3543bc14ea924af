"""Between two sessions: what the process says of itself."""

import asyncio

from ssmd_cdc.errors import SessionEnded
from ssmd_cdc.recovery import Recovery
from ssmd_common.health import Health
from ssmd_common.runtime import Runtime


async def test_a_standby_that_cannot_look_at_the_slot_is_not_ready() -> None:
    async with asyncio.TaskGroup() as tasks:
        runtime = Runtime(Health("cdc"), tasks)
        # Nothing waits any more.
        runtime.stop.set()
        recovery = Recovery(runtime, budget_seconds=60)
        await recovery.stand_by()
        assert (runtime.health.state, runtime.health.ready) == ("standby", True)
        await recovery.recover(SessionEnded("the connection is gone"))
        assert not runtime.health.ready
        assert "the connection is gone" in str(runtime.health.document()["reasons"])
        await recovery.stand_by()
        assert runtime.health.ready
