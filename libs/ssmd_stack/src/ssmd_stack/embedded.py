"""What the three embedded servers share: a port that they keep, a start that waits, an end."""

import asyncio
import shutil
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from ssmd_stack.errors import PortInUse, ServerFailed
from ssmd_stack.ports import free_port, is_taken
from ssmd_stack.process import Process, end_leftover, tail


class EmbeddedServer(ABC):
    """A server process of our own; stopped or killed, it starts again on the same port.

    Not given a port, it takes a free one and keeps it for its later starts. A log that is not
    given is `server.log` in its home.
    """

    name: ClassVar[str]
    ready_seconds: ClassVar[float] = 30.0
    stop_steps: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 10.0),)

    def __init__(self, directory: Path, *, port: int | None, log: Path | None) -> None:
        self.directory = directory.absolute()
        self.port = port or free_port()
        self._port_is_given = port is not None
        self._log = log
        self._process: Process | None = None

    @property
    def home(self) -> Path:
        """Where `directory` really is."""
        return self.directory

    @property
    def log(self) -> Path:
        return self._log or self.home / "server.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    async def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            PortInUse: the port that it was given, or kept, is taken.
            ServerFailed: it ended or was not ready in time; with the end of its log.
        """
        if self.running:
            return
        await self._prepare()
        while is_taken(self.port):
            if self._port_is_given:
                raise PortInUse(
                    f"port {self.port} for {self.name} is taken by another process:"
                    " give another one"
                )
            self.port = free_port()
        self._process = self._launch()
        await self._until_ready(self._process)
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
            await self._process.stop(*self.stop_steps)
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

    @property
    def _pid_file(self) -> Path:
        return self.home / "server.pid"

    async def _prepare(self) -> None:
        """Make its place, and end what an earlier run left there."""
        self.directory.mkdir(parents=True, exist_ok=True)
        end_leftover(self._pid_file)

    @abstractmethod
    def _launch(self) -> Process: ...

    @abstractmethod
    async def _is_ready(self) -> bool: ...

    async def _until_ready(self, process: Process) -> None:
        try:
            async with asyncio.timeout(self.ready_seconds):
                while not await self._is_ready():
                    if process.exit_code is not None:
                        raise ServerFailed(f"{self.name} did not start:\n{process.tail()}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            await self.kill()
            raise ServerFailed(
                f"{self.name} was not ready in {self.ready_seconds:.0f} s:\n{process.tail()}"
            ) from None
