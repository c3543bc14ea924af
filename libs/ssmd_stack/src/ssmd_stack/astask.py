"""A service as a task of a test, with the runtime that a process of its own would have."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from ssmd_common.health import Health
from ssmd_common.runtime import Runtime
from ssmd_common.tasks import end
from ssmd_stack.ended import collect_what_ended


class ServiceAsTask:
    """`serve` is the service's own, given the runtime."""

    def __init__(self, name: str, serve: Callable[[Runtime], Coroutine[Any, Any, None]]) -> None:
        self.health = Health(name)
        self._serve = serve

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Until the block's end, then stopped as SIGTERM does, with all that it spawned."""
        async with asyncio.TaskGroup() as tasks:
            self.runtime = Runtime(self.health, tasks)
            self.task = tasks.create_task(self._serve(self.runtime))
            try:
                yield
            finally:
                self.runtime.stop.set()
                await asyncio.wait({self.task})
                await self.end(*tasks._tasks)  # noqa: SLF001 - as the runtime does
                collect_what_ended()

    async def end(self, *tasks: asyncio.Task[Any]) -> None:
        """What still runs when the service has ended."""
        await end(*tasks)
