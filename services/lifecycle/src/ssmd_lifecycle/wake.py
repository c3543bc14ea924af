"""A sleep that others can end."""

import asyncio

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
        waiters = [
            asyncio.ensure_future(self._event.wait()),
            asyncio.ensure_future(runtime.stop.wait()),
        ]
        try:
            await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
