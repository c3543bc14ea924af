"""A real NATS server with JetStream, on the loopback interface only."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any, Final

from ssmd_stack import binaries
from ssmd_stack.embedded import EmbeddedServer
from ssmd_stack.process import Process

_RELOADED: Final = "Reloaded server configuration"


class NatsServer(EmbeddedServer):
    """A server with its store in `directory`.

    `durable`: an acknowledgement means the message is on disk (`sync_interval: always`), else up to
    two minutes may pass, which only a machine's crash can tell from it. `options` are further
    top-level settings of the server's configuration file.
    """

    name = "NATS"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        durable: bool = False,
        options: dict[str, Any] | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(directory, port=port, log=log)
        self.durable = durable
        self.options = options or {}

    @property
    def data_dir(self) -> Path:
        return self.directory / "store"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def reload(self, options: dict[str, Any]) -> None:
        """Have the running server take other options, and wait until it has."""
        assert self._process is not None
        self.options = options
        self._write_configuration()
        before = self.log.read_text().count(_RELOADED)
        self._process.send(signal.SIGHUP)
        async with asyncio.timeout(self.ready_seconds):
            while self.log.read_text().count(_RELOADED) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def _launch(self) -> Process:
        self._write_configuration()
        return Process(
            [binaries.nats_server(), "-c", "nats.conf"],
            log=self.log,
            cwd=self.directory,
            pid_file=self._pid_file,
        )

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

    async def _is_ready(self) -> bool:
        """It greets a connection, with JetStream on."""
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
