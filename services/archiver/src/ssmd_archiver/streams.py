"""The streams that are archived, each with a desk and a loop of its own, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from nats.aio.client import Client

from ssmd_archive.layout import Layout, books, layout_of
from ssmd_archiver.desk import Desk
from ssmd_archiver.health import StreamsHealth
from ssmd_archiver.service import Archiver
from ssmd_archiver.settings import BOOKS, ArchiverSettings
from ssmd_common.runtime import Runtime

_LOOK_SECONDS: Final = 1.0


class Streams:
    """Of books there are as many streams as connector has shards: each is archived once it is
    there, and the next one waited for."""

    def __init__(
        self,
        runtime: Runtime,
        settings: ArchiverSettings,
        why_kept: Callable[[str, str], str | None] = lambda *_: None,
    ) -> None:
        """`why_kept` says of a stream's day why retention may not remove it, or None."""
        self._why_kept = why_kept
        self._runtime = runtime
        self._settings = settings
        self._health = StreamsHealth(runtime.health)
        self._desks: dict[str, Desk] = {}
        self._shards = 0

    async def recover(self) -> None:
        """Begin with what an earlier process left of each stream that there is or was.

        Raises:
            ArchiveDamaged: what is there was changed by somebody else.
        """
        for layout in self._begin_with():
            self._health.of(layout.stream).set("nats", "NATS was not asked yet")
            await self._recover(layout)

    async def run(self, client: Client) -> None:
        """Archive until the service is asked to stop; an error of any stream ends all."""
        running: dict[str, asyncio.Task[None]] = {}
        archivers: dict[str, Archiver] = {}

        def start(desk: Desk) -> None:
            name = desk.layout.stream
            archivers[name] = archiver = Archiver(
                self._runtime, self._settings, client, desk, self._health.of(name)
            )
            running[name] = self._runtime.spawn(f"archiver-{name}", archiver.run())

        for desk in list(self._desks.values()):
            start(desk)
        while not await self._runtime.stopped_within(_LOOK_SECONDS):
            if self._shards and archivers[books(self._shards - 1).stream].has_stream:
                start(await self._recover(self._next_shard()))
        # Only then may their files be closed.
        await asyncio.wait(running.values())

    async def close(self) -> None:
        """Leave the segments for the next process."""
        for desk in self._desks.values():
            await desk.close()

    def _begin_with(self) -> Iterator[Layout]:
        for name in self._settings.streams:
            if name != BOOKS:
                layout = layout_of(name)
                assert layout is not None, "the settings refused it"
                yield layout
                continue
            yield self._next_shard()
            while (self._settings.archiver_root / books(self._shards).stream).is_dir():
                yield self._next_shard()

    def _next_shard(self) -> Layout:
        self._shards += 1
        return books(self._shards - 1)

    async def _recover(self, layout: Layout) -> Desk:
        desk = Desk(
            self._runtime,
            self._settings,
            layout,
            self._health.of(layout.stream),
            partial(self._why_kept, layout.stream),
        )
        self._desks[layout.stream] = desk
        await desk.recover()
        return desk
