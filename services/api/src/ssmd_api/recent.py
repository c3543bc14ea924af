"""What was read a moment ago, for those who ask for the same."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from ssmd_api.document import Answer
from ssmd_api.turns import caller

_MOST: Final = 500
_MOST_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    began: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Reading:
    began: float
    found: asyncio.Future[Answer] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Recent:
    """Remembers answers, and gives them for `seconds` from when they began to be read: nobody gets
    one that is older than that when it is asked for. With 0 seconds each reads for itself. What is
    read anew and the same as before, byte for byte, has the same body: its tag and what is
    compressed of it are not made again.

    It holds the last 500 answers, and 16 MB of them. Those who ask at the same moment with the same
    key of the API share one reading; no key waits in another's queue, or fails with it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.size_bytes = 0
        self._readings: dict[tuple[str, str], _Reading] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, name: str, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer that has this name. What `read` raises, all get who wait for it."""
        now = monotonic()
        kept = self._kept.get(name)
        if kept is not None and now - kept.began < self.seconds:
            return kept.answer
        mine = (caller.get(), name)
        reading = self._readings.get(mine)
        if reading is not None and now - reading.began < self.seconds:
            # Others may wait for it, too.
            return await asyncio.shield(reading.found)
        reading = self._readings[mine] = _Reading(now)
        try:
            found = self._known(name, await read())
        except Exception as error:
            reading.found.set_exception(error)
            reading.found.exception()  # Mostly nobody else waits.
            raise
        except BaseException:
            reading.found.cancel()
            raise
        finally:
            if self._readings.get(mine) is reading:
                del self._readings[mine]
        reading.found.set_result(found)
        self._keep(name, reading.began, found)
        return found

    def _known(self, name: str, found: Answer) -> Answer:
        kept = self._kept.get(name)
        if kept is None or kept.answer.body.data != found.body.data:
            return found
        return replace(found, body=kept.answer.body)

    def _keep(self, name: str, began: float, found: Answer) -> None:
        self._forget(name)
        size = len(found.body.data) + len(name)
        self._kept[name] = _Kept(found, began, size)
        self.size_bytes += size
        while len(self._kept) > _MOST or self.size_bytes > _MOST_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self.size_bytes -= kept.size_bytes
