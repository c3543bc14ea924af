"""Keeps one server or service running, and says so when it had to start it again."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 15.0
#: Whoever ran that long is well again: the next pause is the first one.
_WELL_AFTER_SECONDS: Final = 60.0


class Runnable(Protocol):
    """A server or a service."""

    @property
    def pid(self) -> int | None: ...

    def last_words(self) -> str: ...

    async def start(self) -> None: ...

    async def wait(self) -> int: ...

    async def stop(self) -> None: ...


class Keeper:
    """`restarts` counts; `down_since` is a monotonic time while it does not run."""

    def __init__(self, name: str, runnable: Runnable, say: Callable[[str], None]) -> None:
        self.name = name
        self.runnable = runnable
        self.restarts = 0
        self.last_exit: int | None = None
        self.down_since: float | None = None
        self._say = say
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and from now on keep it running until `stop`."""
        await self.runnable.start()
        self._task = asyncio.create_task(self._keep(), name=f"keep-{self.name}")

    async def stop(self) -> None:
        """Stop it in order; it is not started again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.runnable.stop()

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            self.last_exit = await self.runnable.wait()
            self.down_since = time.monotonic()
            if self.down_since - began > _WELL_AFTER_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            # Whoever was ended by a signal had no say in it.
            words = self.runnable.last_words() if self.last_exit >= 0 else ""
            self._say(
                f"{self.name} {_ended(self.last_exit)}{f' ({words})' if words else ''};"
                f" starting it again in {pause:g} s"
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            self.restarts += 1
            try:
                await self.runnable.start()
            except Exception as error:
                self._say(f"{self.name} did not start again: {error}")
            else:
                self.down_since = None
                self._say(f"{self.name} was started again")


def _ended(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
