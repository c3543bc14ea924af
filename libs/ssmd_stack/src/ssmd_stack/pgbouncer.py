"""A real pgbouncer before a PostgreSQL server, for tests of what runs behind a pooler."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from ssmd_stack import account
from ssmd_stack.embedded import EmbeddedServer
from ssmd_stack.errors import BinaryMissing
from ssmd_stack.process import Account, Process

# Debian's is where an ordinary user's PATH does not lead.
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def pgbouncer_binary() -> Path:
    """The `pgbouncer` binary; SSMD_PGBOUNCER names another version."""
    found = os.environ.get("SSMD_PGBOUNCER") or shutil.which("pgbouncer", path=_PATH)
    if not found:
        raise BinaryMissing("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    return Path(found)


def pgbouncer_version() -> tuple[int, int]:
    """Major and minor version of the binary."""
    said = subprocess.run(
        [pgbouncer_binary(), "--version"], capture_output=True, text=True, check=True
    ).stdout
    major, minor = re.findall(r"\d+", said)[:2]
    return int(major), int(minor)


class Pgbouncer(EmbeddedServer):
    """A pooler with all databases of the server that `url` leads to, for the role in it.

    `settings` are lines of its section [pgbouncer]. Like PostgreSQL it refuses to run as root.
    """

    name = "pgbouncer"

    def __init__(self, directory: Path, url: str, **settings: str | int) -> None:
        super().__init__(directory, port=None, log=None)
        self.settings = settings
        self._url = url
        self._target = conninfo_to_dict(url)
        self._user: Account | None = None
        self._home: Path | None = None

    @property
    def home(self) -> Path:
        return self._home or self.directory

    @property
    def url(self) -> str:
        """The URL's database through the pooler."""
        return self._url.replace(
            f"{self._target['host']}:{self._target['port']}/", f"127.0.0.1:{self.port}/"
        )

    def reload(self, **settings: str | int) -> None:
        """Change settings while it runs."""
        self.settings = {**self.settings, **settings}
        self._write()
        if self._process is not None:
            self._process.send(signal.SIGHUP)

    def remove(self) -> None:
        account.remove(self.directory)

    async def _prepare(self) -> None:
        self._user = await asyncio.to_thread(account.postgres_account)
        self._home = await asyncio.to_thread(account.settle, self.directory, self._user)
        self._write()

    def _write(self) -> None:
        target = self._target
        users = self.home / "users.txt"
        users.write_text(f'"{target["user"]}" "{target["password"]}"\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": users,
            **self.settings,
        }
        written = "".join(f"{name} = {value}\n" for name, value in lines.items())
        configuration = self.home / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n* = host={target['host']} port={target['port']}\n[pgbouncer]\n{written}"
        )
        for file in (users, configuration):
            account.hand_over(file, self._user)

    def _launch(self) -> Process:
        return Process(
            [pgbouncer_binary(), self.home / "pgbouncer.ini"],
            log=self.log,
            cwd=self.home,
            account=self._user,
            pid_file=self._pid_file,
        )

    async def _is_ready(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True
