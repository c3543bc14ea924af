"""A hot standby of a PostgresServer, to be promoted."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ssmd_stack import account
from ssmd_stack.embedded import EmbeddedServer
from ssmd_stack.postgres import PostgresServer

FAILOVER_SLOT = "ssmd_standby"
"""The physical slot of a standby that is given `FAILOVER`."""

FAILOVER = {
    "sync_replication_slots": "on",
    "hot_standby_feedback": "on",
    "primary_slot_name": FAILOVER_SLOT,
}
"""Settings of a standby that keeps copies of its primary's failover slots (PostgreSQL 17)."""


@asynccontextmanager
async def standby_of(
    primary: PostgresServer, directory: Path, settings: Mapping[str, str] | None = None
) -> AsyncIterator[PostgresServer]:
    """Made with pg_basebackup; its roles and passwords are the primary's. Ended at the end."""
    wanted = dict(settings or {})
    server = PostgresServer(directory, durable=False, settings=wanted)
    user = account.postgres_account()
    given = conninfo_to_dict(primary.admin_url)
    home = await asyncio.to_thread(account.settle, directory, user)
    for name in ("superuser.password", "role.password", "initialised", "synced"):
        if (primary.home / name).exists():
            shutil.copy(primary.home / name, home / name)
            account.hand_over(home / name, user)
    hba = primary.data_dir / "pg_hba.conf"
    hba.write_text(hba.read_text() + "\nhost replication all 127.0.0.1/32 scram-sha-256\n")
    async with await psycopg.AsyncConnection.connect(primary.admin_url, autocommit=True) as admin:
        await admin.execute("ALTER SYSTEM SET wal_keep_size = '256MB'")
        await admin.execute("SELECT pg_reload_conf()")
        if slot := wanted.get("primary_slot_name"):
            await admin.execute("SELECT pg_create_physical_replication_slot(%s, true)", (slot,))
    command: list[str | Path] = [
        primary.bin_dir / "pg_basebackup", "-D", home / "data", "-R", "-X", "stream", "-c", "fast",
        # The name of the database is kept for whoever copies its slots.
        "-d", f"host=127.0.0.1 port={given['port']} user={given['user']} dbname=postgres",
    ]  # fmt: skip
    await asyncio.to_thread(
        lambda: subprocess.run(
            command,
            env={"PGPASSWORD": str(given["password"]), "PATH": "/usr/bin:/bin"},
            user=user.uid if user else None,
            group=user.gid if user else None,
            cwd=primary.home if user is None else "/",
            check=True,
        )
    )
    try:
        # Not its own `start`, which makes the role and the database: they are the primary's.
        await EmbeddedServer.start(server)
        yield server
    finally:
        await EmbeddedServer.stop(server)
        server.remove()


async def promote(standby: PostgresServer) -> None:
    """Promote it; returns when it takes writes."""
    async with await psycopg.AsyncConnection.connect(standby.admin_url, autocommit=True) as admin:
        await admin.execute("SELECT pg_promote()")
