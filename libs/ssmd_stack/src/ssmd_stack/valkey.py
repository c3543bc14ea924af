"""A real Valkey server (Redis protocol), on the loopback interface only."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ssmd_stack import binaries
from ssmd_stack.embedded import EmbeddedServer
from ssmd_stack.process import Process


class ValkeyServer(EmbeddedServer):
    """A server in `directory`.

    It starts empty unless `persistent`, which writes every command to its append-only file.
    `options` are further ones of its command line.
    """

    name = "Valkey"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        persistent: bool = False,
        options: Sequence[str] = (),
        log: Path | None = None,
    ) -> None:
        super().__init__(directory, port=port, log=log)
        self.persistent = persistent
        self.options = options

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
                *self.options,
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


class ValkeySentinel(ValkeyServer):
    """A Sentinel that watches a master called `master` and alone decides on a failover.

    `master_port` is where it, the replicas and all clients reach that.
    """

    def __init__(self, directory: Path, master_port: int, *, down_after_seconds: float) -> None:
        super().__init__(directory)
        self._master_port = master_port
        self._down_after_seconds = down_after_seconds

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/master/0"

    def _launch(self) -> Process:
        # It writes into this file what it learns.
        (self.directory / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir .\n"
            f"sentinel monitor master 127.0.0.1 {self._master_port} 1\n"
            f"sentinel down-after-milliseconds master {self._down_after_seconds * 1000:.0f}\n"
            "sentinel failover-timeout master 5000\n"
        )
        return Process(
            [binaries.valkey_server(), "sentinel.conf", "--sentinel"],
            log=self.log,
            cwd=self.directory,
            pid_file=self._pid_file,
        )
