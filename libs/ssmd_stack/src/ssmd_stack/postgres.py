"""A real PostgreSQL server of our own, on the loopback interface only."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from ssmd_stack import account, binaries, cluster
from ssmd_stack.database import TEMPLATE, ensure_owner
from ssmd_stack.embedded import EmbeddedServer
from ssmd_stack.errors import ServerFailed
from ssmd_stack.process import Account, Process, end_all_in, end_leftover, wait_for_end


class PostgresServer(EmbeddedServer):
    """A server with its data in `directory`, which as root becomes a link (see `account`).

    `url` opens the database `database` as the role `role`: LOGIN REPLICATION, owner of the
    database, no superuser. `durable` keeps fsync on.
    """

    name = "PostgreSQL"
    ready_seconds = 60.0
    # A fast stop waits for walsenders whose reader does not confirm; then an immediate one.
    stop_steps = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 15.0))

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        durable: bool = True,
        role: str = "ssmd",
        database: str = "ssmd",
        bin_dir: Path | None = None,
        settings: dict[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(directory, port=port, log=log)
        self.durable = durable
        self.role = role
        self.database = database
        self.settings = settings or {}
        self.template = TEMPLATE
        self._wheel_bin_dir = bin_dir
        self._syncing: asyncio.Task[None] | None = None
        self._user: Account | None = None
        self._home: Path | None = None
        self._bin_dir: Path | None = None

    @property
    def home(self) -> Path:
        """Where `directory` really is."""
        if self._home is None:
            raise ServerFailed("PostgreSQL was never started here: call start() first")
        return self._home

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    @property
    def bin_dir(self) -> Path:
        """The folder of the `psql`, `pg_dump` and `pg_recvlogical` that belong to this server."""
        if self._bin_dir is None:
            raise ServerFailed("PostgreSQL was never started here: call start() first")
        return self._bin_dir

    @property
    def url(self) -> str:
        return self.url_of(self.database)

    @property
    def admin_url(self) -> str:
        """The maintenance database as the superuser: for tests and the stack itself."""
        return self.admin_url_of("postgres")

    def url_of(self, database: str) -> str:
        return self._url(self.role, cluster.password(self.home, "role"), database)

    def admin_url_of(self, database: str) -> str:
        return self._url("postgres", cluster.password(self.home, "superuser"), database)

    async def start(self) -> None:
        """Start it, making the cluster first if there is none, and wait until it answers."""
        if self.running:
            return
        await super().start()
        await ensure_owner(
            self.admin_url, self.role, cluster.password(self.home, "role"), self.database
        )
        if self.durable and self._syncing is None and not cluster.is_on_disk(self.home):
            self._syncing = asyncio.create_task(
                cluster.put_on_disk(self.home, self.bin_dir, self._user), name="initdb-sync"
            )

    async def begin_as(self, other: "PostgresServer") -> None:
        """Before its first start: be a copy of a stopped one, its system identifier included."""
        self._user = account.postgres_account()
        self._home = account.settle(self.directory, self._user)
        await asyncio.to_thread(cluster.copy, other.home, self._home)

    async def stop(self) -> None:
        """Stop it: connections are closed and everything is on disk."""
        await self._end_sync()
        await super().stop()

    async def kill(self) -> None:
        """End every process of the server at once, as if the power had failed."""
        await self._end_sync()
        if self._process is None:
            return
        family = self._process.descendants()
        self._process.send(signal.SIGKILL)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        await self._process.wait()
        await asyncio.to_thread(wait_for_end, family, 10.0)
        self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """While inside, no process of the server does anything; connections stay open."""
        if self._process is None:
            raise ServerFailed("PostgreSQL is not running: call start() first")
        postmaster = psutil.Process(self._process.pid)
        # The one that makes others first.
        stopped = [postmaster]
        postmaster.suspend()
        try:
            for member in self._process.descendants():
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.suspend()
                    stopped.append(member)
            yield
        finally:
            for member in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.resume()

    def remove(self) -> None:
        """Delete all its files. It must not be running."""
        account.remove(self.directory)

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    async def _prepare(self) -> None:
        self._user = await asyncio.to_thread(self._settle)
        if not cluster.is_complete(self.home):
            await cluster.initialise(self.home, self.bin_dir, self._user)
        cluster.write_settings(self.home, self.bin_dir, durable=self.durable, more=self.settings)

    def _settle(self) -> Account | None:
        user = account.postgres_account()
        self._home = account.settle(self.directory, user)
        source = self._wheel_bin_dir or binaries.postgres_bin_dir()
        self._bin_dir = account.install(source, self._home, user)
        cluster.require_same_major(self._home, self._bin_dir)
        end_leftover(self._pid_file, first=signal.SIGQUIT)
        # A backend may outlive its postmaster for a moment, and must not meet the next one.
        end_all_in(self.data_dir)
        # Only now is it safe to remove: its pid may meanwhile be another program's.
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
        cluster.make_passwords(self._home, user)
        return user

    def _launch(self) -> Process:
        return Process(
            [self.bin_dir / "postgres", "-D", "data", "-p", str(self.port)],
            log=self.log,
            cwd=self.home,
            account=self._user,
            env=cluster.ENVIRONMENT,
            # An immediate stop: the next start recovers from the log, as after a power failure.
            death_signal=signal.SIGQUIT,
            pid_file=self._pid_file,
        )

    async def _is_ready(self) -> bool:
        """The server writes its state in the eighth line of its own pid file."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    async def _end_sync(self) -> None:
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
            self._syncing = None
