"""A real NATS server with JetStream, on the loopback interface only."""

import asyncio
import json
import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ssmd_stack import binaries
from ssmd_stack.errors import PortInUse, ServerFailed
from ssmd_stack.ports import free_port, is_taken
from ssmd_stack.process import Process, end_leftover, tail

_READY_SECONDS = 30.0
_STOP_SECONDS = 10.0


class NatsServer:
    """A server with its store in `directory`; stopped or killed, it starts again on the same port.

    `durable`: an acknowledgement means the message is on disk (`sync_interval: always`), else up to
    two minutes may pass, which only a machine's crash can tell from it. `options` are further
    top-level settings of the server's configuration file.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        durable: bool = False,
        options: dict[str, Any] | None = None,
        log: Path | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.port = port or free_port()
        self.durable = durable
        self.options = options or {}
        self._port_is_given = port is not None
        self.log = log or self.directory / "server.log"
        self._process: Process | None = None

    @property
    def data_dir(self) -> Path:
        return self.directory / "store"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it greets a connection with JetStream on."""
        if self.running:
            return
        self.data_dir.mkdir(parents=True, exist_ok=True)
        end_leftover(self.directory / "server.pid")
        while is_taken(self.port):
            if self._port_is_given:
                raise PortInUse(
                    f"port {self.port} for NATS is taken by another process: give another one"
                )
            self.port = free_port()
        self._write_configuration()
        process = self._process = Process(
            [binaries.nats_server(), "-c", "nats.conf"],
            log=self.log,
            cwd=self.directory,
            pid_file=self.directory / "server.pid",
        )
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not await self._greets():
                    if process.exit_code is not None:
                        raise ServerFailed(f"NATS did not start:\n{process.tail()}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            await self.kill()
            raise ServerFailed(
                f"NATS was not ready in {_READY_SECONDS:.0f} s:\n{process.tail()}"
            ) from None
        # From now on others know its address.
        self._port_is_given = True

    def last_words(self) -> str:
        """The last line of its log."""
        return tail(self.log, 1)

    async def wait(self) -> int:
        """Wait until the server's process has ended, and return its exit code."""
        return await self._process.wait() if self._process else 0

    async def stop(self) -> None:
        """Stop it in order."""
        if self._process is not None:
            await self._process.stop((signal.SIGTERM, _STOP_SECONDS))
            self._process = None

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            await self._process.stop()
            self._process = None

    def remove(self) -> None:
        """Delete all its files. It must not be running."""
        shutil.rmtree(self.directory, ignore_errors=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _write_configuration(self) -> None:
        jetstream: dict[str, Any] = {"store_dir": str(self.data_dir)}
        if self.durable:
            jetstream["sync_interval"] = "always"
        configuration = {
            "listen": f"127.0.0.1:{self.port}",
            "jetstream": jetstream,
            **self.options,
        }
        # Its configuration language takes JSON.
        (self.directory / "nats.conf").write_text(json.dumps(configuration, indent=2))

    async def _greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            greeting = await reader.readline()
        except OSError:
            return False
        finally:
            writer.close()
        return greeting.startswith(b"INFO ") and bool(json.loads(greeting[5:]).get("jetstream"))
