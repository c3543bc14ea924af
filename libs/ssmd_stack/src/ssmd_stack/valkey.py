"""A real Valkey server (Redis protocol), on the loopback interface only."""

import asyncio
from pathlib import Path

from ssmd_stack import binaries
from ssmd_stack.embedded import EmbeddedServer
from ssmd_stack.process import Process


class ValkeyServer(EmbeddedServer):
    """A server in `directory`.

    It starts empty unless `persistent`, which writes every command to its append-only file.
    """

    name = "Valkey"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        persistent: bool = False,
        log: Path | None = None,
    ) -> None:
        super().__init__(directory, port=port, log=log)
        self.persistent = persistent

    @property
    def data_dir(self) -> Path:
        return self.directory

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _launch(self) -> Process:
        return Process(
            [
                binaries.valkey_server(),
                "--port", str(self.port), "--bind", "127.0.0.1", "--dir", ".", "--save", "",
                "--appendonly", "yes" if self.persistent else "no",
            ],
            log=self.log,
            cwd=self.directory,
            pid_file=self._pid_file,
        )  # fmt: skip

    async def _is_ready(self) -> bool:
        """It answers PING."""
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
