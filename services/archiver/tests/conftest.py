"""A stream, a publisher for it, and the archiver beside it."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import archived
import nats.js.errors
import pytest_asyncio
from archived import Archived
from nats.aio.client import Client
from pydantic import SecretStr
from s3_server import s3

from ssmd_archiver.__main__ import serve
from ssmd_archiver.settings import ArchiverSettings
from ssmd_stack import forked
from ssmd_stack.astask import ServiceAsTask
from ssmd_stack.ended import collect_what_ended
from ssmd_stack.ports import free_port
from ssmd_stream.subjects import STREAM

DEADLINE_SECONDS = 180.0
__all__ = ["s3"]


async def eventually(
    check: Callable[[], Awaitable[bool]], what: Callable[[], str], seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait until `check` says yes; the test fails after a generous deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await check():
        assert loop.time() < deadline, f"not within {seconds:.0f} s: {what()}"
        await asyncio.sleep(0.02)


class World:
    """The servers around the archiver, and what was published."""

    def __init__(self, database: Any, nats: Any, root: Path) -> None:
        self.database, self.nats_server, self.root = database, nats, root
        self.published: dict[tuple[int, int], bytes] = {}
        self.chain = 1
        self._number = 0

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        self.nats = Client()
        await self.nats.connect(self.nats_server.url, max_reconnect_attempts=-1)
        stack.push_async_callback(self.nats.close)
        self.js = self.nats.jetstream(timeout=60)
        await self.js.add_stream(name=STREAM, subjects=["cdc.>"])

    async def publish(self, count: int, table: str = "markets", size: int = 100) -> None:
        """Messages as cdc publishes them, of one table, stored before it returns."""
        acknowledgements = []
        for _ in range(count):
            self._number += 1
            payload = json.dumps(
                {
                    "v": 1, "lsn": "0/1", "xid": self._number, "epoch": 1, "seq": 0,
                    "table": table, "op": "update", "type": f"{table}_updated",
                    "data": {"n": self._number, "text": "é" * size},
                },
                separators=(",", ":"), ensure_ascii=False,
            ).encode()  # fmt: skip
            acknowledgements.append(
                (payload, await self.js.publish_async(f"cdc.{table}.update.A", payload))
            )
        for payload, acknowledgement in acknowledgements:
            self.published[self.chain, (await acknowledgement).seq] = payload

    async def put(self, subject: str, payload: bytes) -> int:
        """Any message; its sequence."""
        sequence = (await self.js.publish(subject, payload)).seq
        self.published[self.chain, sequence] = payload
        return sequence

    async def recreate(self) -> None:
        await self.js.delete_stream(STREAM)
        await self.add_stream()
        self.chain += 1

    async def add_stream(self) -> None:
        """The stream anew, after it was deleted."""
        async with asyncio.timeout(10):
            while True:
                try:
                    await self.js.add_stream(name=STREAM, subjects=["cdc.>"])
                    break
                except nats.js.errors.ServerError:
                    # NATS may refuse a name whose store it is still removing.
                    await asyncio.sleep(0.1)

    @property
    def stream(self) -> Path:
        return self.root / STREAM

    def archive(self, *, whole: bool = True) -> Archived:
        return archived.read(self.stream, whole=whole)

    def settings(self, **more: Any) -> ArchiverSettings:
        return ArchiverSettings(
            **{
                "database_url": SecretStr(self.database.url),
                "nats_url": SecretStr(self.nats_server.url),
                "archiver_root": self.root,
                "archiver_flush_seconds": 0.05,
                **more,
            }
        )

    @contextlib.asynccontextmanager
    async def archiver(self, **more: Any) -> AsyncIterator["Running"]:
        """The service in this process, with short windows."""
        running = Running(self.settings(**{"archiver_rotate_seconds": 1, **more}))
        async with running.run():
            yield running

    @contextlib.asynccontextmanager
    async def process(self, **more: str) -> AsyncIterator["Process"]:
        """The service as its own process, killed at the end."""
        port = free_port()
        environment = {
            **os.environ,
            "DATABASE_URL": self.database.url,
            "NATS_URL": self.nats_server.url,
            "ARCHIVER_ROOT": str(self.root),
            "ARCHIVER_ROTATE_SECONDS": "1",
            "ARCHIVER_FLUSH_SECONDS": "0.05",
            "OPS_HOST": "127.0.0.1",
            "OPS_PORT": str(port),
            **more,
        }
        process = Process(await forked.start("ssmd_archiver", env=environment), port)
        try:
            yield process
        finally:
            await process.kill()

    def lines(self) -> list[dict[str, Any]]:
        """The manifests' lines, while they are written."""
        return [
            {**json.loads(text), "day": manifest.parent.name}
            for manifest in sorted(self.stream.glob("*/manifest.jsonl"))
            for text in manifest.read_bytes().splitlines(keepends=True)
            if text.endswith(b"\n")
        ]

    async def settled(self) -> Archived:
        """The archive, once it has all that the stream has."""
        await self.caught_up()
        return self.archive(whole=False)

    async def caught_up(self) -> None:
        """Wait until the manifest accounts for all that the stream has."""
        info = await self.js.stream_info(STREAM)
        last = info.state.last_seq

        def reached() -> int:
            of_chain = [line["to_seq"] for line in self.lines() if line["chain"] == self.chain]
            return max(of_chain, default=0)

        async def there() -> bool:
            return reached() >= last

        await eventually(there, lambda: f"{reached()} of {last} are archived")


class Process:
    """The service's process."""

    def __init__(self, child: forked.Started, port: int) -> None:
        self.child, self.port = child, port

    async def kill(self) -> None:
        if self.child.returncode is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        await self.child.wait()

    def limit_files(self, size: int) -> None:
        """It may write no file beyond this size: for it the disk is full."""
        resource.prlimit(self.child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def document(self) -> dict[str, Any]:
        """What /readyz says; empty while nothing answers."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://127.0.0.1:{self.port}/readyz") as reply,
            ):
                return dict(await reply.json())
        except (aiohttp.ClientError, OSError, TimeoutError):
            return {}

    async def until(self, check: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until /readyz says so."""
        last: dict[str, Any] = {}

        async def says() -> bool:
            nonlocal last
            assert self.child.returncode is None, f"it ended with {self.child.returncode}"
            last = await self.document()
            return bool(last) and check(last)

        await eventually(says, lambda: f"{last}")


class Running(ServiceAsTask):
    def __init__(self, settings: ArchiverSettings) -> None:
        super().__init__("archiver", lambda runtime: serve(runtime, settings))

    async def end(self, *tasks: asyncio.Task[Any]) -> None:
        with warnings.catch_warnings():
            # Of a state that is cut off while its cursor is closed: the server does that.
            warnings.simplefilter("ignore", ResourceWarning)
            await super().end(*tasks)
            # Where the cursor hangs in a circle it is told of only when that is collected.
            collect_what_ended()

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return self.health.ready

        await eventually(is_ready, lambda: f"ready, but {self.health.document()}")


@pytest_asyncio.fixture
async def world(database: Any, nats_server: Any, tmp_path: Path) -> AsyncIterator[World]:
    made = World(database, nats_server, tmp_path / "archive")
    async with contextlib.AsyncExitStack() as stack:
        await made.open(stack)
        yield made
