"""A real Valkey server (Redis protocol), on the loopback interface only."""

import asyncio
import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from ssmd_stack import binaries
from ssmd_stack.errors import PortInUse, ServerFailed
from ssmd_stack.ports import free_port, is_taken
from ssmd_stack.process import Process, end_leftover, tail

_READY_SECONDS = 30.0
_STOP_SECONDS = 10.0


class ValkeyServer:
    """A server in `directory`; stopped or killed, it starts again on the same port.

    It starts empty unless `persistent`, which writes every command to its append-only file.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        persistent: bool = False,
        log: Path | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.port = port or free_port()
        self.persistent = persistent
        self._port_is_given = port is not None
        self.log = log or self.directory / "server.log"
        self._process: Process | None = None

    @property
    def data_dir(self) -> Path:
        return self.directory

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it and wait until it answers PING."""
        if self.running:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        end_leftover(self.directory / "server.pid")
        while is_taken(self.port):
            if self._port_is_given:
                raise PortInUse(
                    f"port {self.port} for Valkey is taken by another process: give another one"
                )
            self.port = free_port()
        process = self._process = Process(
            [
                binaries.valkey_server(),
                "--port", str(self.port), "--bind", "127.0.0.1", "--dir", ".", "--save", "",
                "--appendonly", "yes" if self.persistent else "no",
            ],
            log=self.log,
            cwd=self.directory,
            pid_file=self.directory / "server.pid",
        )  # fmt: skip
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not await self._answers():
                    if process.exit_code is not None:
                        raise ServerFailed(f"Valkey did not start:\n{process.tail()}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            await self.kill()
            raise ServerFailed(
                f"Valkey was not ready in {_READY_SECONDS:.0f} s:\n{process.tail()}"
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

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()
