"""Streams outlast the check of their key: what is revoked or expires ends them, busy or idle."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import structlog

from ssmd_api.auth import Authenticator
from ssmd_common import tasks
from ssmd_common.apikeys import ParsedKey
from ssmd_common.connections.retry import first_line

log = structlog.get_logger(__name__)

_SHORTEST_SECONDS: Final = 0.25


class KeyWatch:
    """Looks at the key of each open stream, once for all that have the same, so often that none
    outlives its key by the authenticator's memory."""

    def __init__(self, authenticator: Authenticator, memory_seconds: float) -> None:
        self._authenticator = authenticator
        self._every_seconds = max(_SHORTEST_SECONDS, memory_seconds / 2)
        self._streams: dict[ParsedKey, set[Callable[[], object]]] = {}
        self._at_once = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def over(self, key: ParsedKey, end: Callable[[], object]) -> Iterator[None]:
        """While inside, `end` is called when the key is no longer good."""
        streams = self._streams.setdefault(key, set())
        streams.add(end)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="keys of streams")
        try:
            yield
        finally:
            streams.discard(end)
            if not streams:
                self._streams.pop(key, None)

    def look_now(self) -> None:
        """One was revoked here."""
        self._at_once.set()

    async def close(self) -> None:
        if self._watching is not None:
            await tasks.end(self._watching)

    async def _watch(self) -> None:
        while self._streams:
            self._at_once.clear()
            for key in list(self._streams):
                try:
                    good = await self._authenticator.still_good(key, self._every_seconds)
                except psycopg.Error as error:
                    # It has been trusted without for as long as requests are.
                    log.warning("the key of a stream cannot be checked", error=first_line(error))
                    good = False
                if not good:
                    for end in list(self._streams.get(key, ())):
                        end()
            try:
                async with asyncio.timeout(self._every_seconds):
                    await self._at_once.wait()
            except TimeoutError:
                pass
