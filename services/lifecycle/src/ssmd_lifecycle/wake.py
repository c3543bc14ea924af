"""A sleep that others can end."""

import asyncio
from contextlib import suppress

from ssmd_common.runtime import Runtime


class Wake:
    """`set` ends the sleep that is going on, or the next one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        """Forget what was set: what follows looks at everything anyway."""
        self._event.clear()

    async def sleep(self, runtime: Runtime, seconds: float) -> None:
        """Until `set`, the service's stop, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await runtime.until_stop(self._event.wait())
