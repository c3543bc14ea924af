"""docs/maintenance.md: its commands on real servers, and that what is lost comes back."""

import asyncio
import gzip
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis.asyncio
from maintained import BLOCKS, run
from topology import PATIENCE_SECONDS, Topology, execute, verify

from ssmd_common.parts import SERVICES
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.valkey import ValkeyServer


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not here")


async def fetch(url: str, query: str) -> Any:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute(query)).fetchone()  # type: ignore[arg-type]
        return row and row[0]


async def until(what: str, holds: Callable[[], Any]) -> None:
    """Wait for what a coroutine says, asked again and again."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if await holds():
                    return
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def test_every_block_that_says_so_is_run_here() -> None:
    text = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("test_*.py")))
    assert set(BLOCKS) == {name for name in BLOCKS if f'"{name}"' in text}
    assert len(BLOCKS) == 18


async def installed(server: PostgresServer, folder: Path) -> str:
    """A database that `ssmd db migrate` made: those of the fixtures have no record of it."""
    text = "CREATE DATABASE production OWNER ssmd ENCODING 'UTF8' TEMPLATE template0"
    await execute(server.admin_url, text)
    url = server.url_of("production")
    run("upgrade", folder, DATABASE_URL=url)
    return url


async def test_a_database_is_migrated_dumped_and_restored_with_everything_in_it(
    private_postgres: PostgresServer, tmp_path: Path
) -> None:
    url = await installed(private_postgres, tmp_path)
    await execute(url, "INSERT INTO series (ticker, title, category) VALUES ('S', 'x', 'World')")
    run("backup", tmp_path, DATABASE_URL=url)
    restored = private_postgres.url_of("ssmd_restored")
    run("restore", tmp_path, ADMIN_URL=private_postgres.admin_url, NEW_DATABASE_URL=restored)
    assert await fetch(restored, "SELECT count(*) FROM series") == 1
    published = "SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_publication_tables"
    assert await fetch(restored, published) == await fetch(url, published)
    assert "markets" in await fetch(restored, published)


async def test_an_api_key_is_replaced(database: Database, tmp_path: Path) -> None:
    await execute(
        database.url,
        "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
        " VALUES ('old', 'sk_live_old', '', '{read}', 600)",
    )
    prefix = await fetch(database.url, "SELECT key_prefix FROM api_keys")
    run("api-key", tmp_path, DATABASE_URL=database.url, OLD_KEY_PREFIX=prefix)
    left = "SELECT string_agg(name, ',') FROM api_keys WHERE revoked_at IS NULL"
    assert await fetch(database.url, left) == "research-2027"


@needs("rsync")
def test_an_archive_is_copied_without_what_is_being_written(tmp_path: Path) -> None:
    root, backup = tmp_path / "archive", tmp_path / "backup"
    day = root / "SECMASTER_CDC/2026-11-28"
    (day / "markets").mkdir(parents=True)
    backup.mkdir()
    (day / "manifest.jsonl").write_text("{}\n")
    (day / "markets/1700-000000000001.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    (day / "markets/1715-000000000002.jsonl.gz.part").write_bytes(b"torn")
    run("archive", tmp_path, ARCHIVER_ROOT=str(root), BACKUP=str(backup))
    copied = {path.name for path in backup.rglob("*") if path.is_file()}
    assert copied == {"manifest.jsonl", "1700-000000000001.jsonl.gz"}


@needs("redis-cli")
async def test_a_redis_user_has_two_passwords_for_a_while(
    valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    place = urlsplit(valkey_server.url).netloc.rpartition("@")[2]

    async def enters(password: str) -> bool:
        async with redis.asyncio.from_url(f"redis://cache:{password}@{place}/0") as client:
            try:
                return bool(await client.ping())
            except redis.exceptions.AuthenticationError:
                return False

    async with redis.asyncio.from_url(valkey_server.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "cache", "on", ">old", "~*", "+@all")
    both = {"REDIS_ADMIN_URL": valkey_server.url, "NEW_PASSWORD": "new", "OLD_PASSWORD": "old"}
    run("redis-add", tmp_path, **both)
    assert (await enters("old"), await enters("new")) == (True, True)
    run("redis-remove", tmp_path, **both)
    assert (await enters("old"), await enters("new")) == (False, True)


@needs("redis-cli")
async def test_only_our_keys_are_removed_from_redis(
    valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    async with redis.asyncio.from_url(valkey_server.url) as client:
        await client.mset({"secmaster:position": "{}", "secmaster:a b": "1", "other": "1"})
        run("empty-redis", tmp_path, REDIS_ADMIN_URL=valkey_server.url)
        assert await client.keys("*") == [b"other"]


@needs("promtool")
def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(BLOCKS["prometheus.yml"])
    rules = Path(__file__).parents[2] / "deploy/helm/ssmd/monitoring/alerts.yaml"
    shutil.copy(rules, tmp_path)
    assert all(f"service: {service}}}" in BLOCKS["prometheus.yml"] for service in SERVICES)
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{rules.read_text().count('- alert: ')} rules found" in done.stdout


class Installation:
    """All services, restarted as a cluster does, on servers that are lost one after the other."""

    def __init__(self, services: Topology, folder: Path, url: str, admin_url: str) -> None:
        self._services, self._folder = services, folder
        self.url, self._admin_url = url, admin_url

    async def start(self) -> None:
        for service in await self._services.start_all(self.url, restarts=True):
            await service.ready()

    async def stop(self) -> None:
        await self._services.close()

        async def nobody_reads() -> bool:
            active = "SELECT count(*) FROM pg_replication_slots WHERE active"
            return not await fetch(self._admin_url, active)

        await until("nobody reads the slot", nobody_reads)

    async def whole(self, epoch: int) -> None:
        """The stream is in that epoch, and Redis is what PostgreSQL is."""

        async def in_epoch() -> bool:
            found = await fetch(self.url, "SELECT max(epoch) FROM cdc_state")
            assert (found or 0) <= epoch, found
            return bool(found == epoch)

        async def verified() -> bool:
            told = {**self._services.environment, "DATABASE_URL": self.url}
            return (await asyncio.to_thread(verify, told)).returncode == 0

        await until(f"epoch {epoch}", in_epoch)
        await until("Redis is what PostgreSQL is", verified)
        assert await fetch(self.url, "SELECT count(*) FROM markets") > 0

    def run(self, block: str, **more: str) -> str:
        return run(block, self._folder, DATABASE_URL=self.url, **more)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_whatever_is_lost_comes_back(
    private_postgres: PostgresServer,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    services: Topology,
    tmp_path: Path,
) -> None:
    admin = {"ADMIN_URL": private_postgres.admin_url}
    slot = {**admin, "CDC_SLOT": services.environment["CDC_SLOT"]}
    restored = private_postgres.url_of("ssmd_restored")
    url = await installed(private_postgres, tmp_path)
    ours = Installation(services, tmp_path, url, private_postgres.admin_url)
    await ours.start()
    await ours.whole(epoch=1)
    sessions, most = ours.run("sessions").strip().split("|")
    assert len(SERVICES) < int(sessions) < int(most)
    ours.run("backup")

    # Redis: restarted, it is empty.
    await valkey_server.kill()
    await valkey_server.start()
    await ours.whole(epoch=1)

    # The slot. Leaders have had so many numbers since the backup that no restarts catch up.
    await ours.stop()
    await execute(url, "SELECT setval('fencing_tokens', 100000)")
    ours.run("lose-slot", **slot)
    await ours.start()
    await ours.whole(epoch=2)

    # NATS with its store.
    await nats_server.kill()
    shutil.rmtree(nats_server.data_dir / "jetstream")
    await nats_server.start()
    await ours.whole(epoch=3)

    # PostgreSQL: the dump is from epoch 1, and the stream tells that there were more.
    await ours.stop()
    ours.run("lose-slot", **slot)
    run("restore", tmp_path, **admin, NEW_DATABASE_URL=restored)
    ours.url = restored
    await ours.start()
    await ours.whole(epoch=4)

    # PostgreSQL and NATS, but not Redis, which remembers epoch 4 and its leader.
    await ours.stop()
    ours.run("lose-slot", **slot)
    await execute(private_postgres.admin_url, "DROP DATABASE ssmd_restored")
    run("restore", tmp_path, **admin, NEW_DATABASE_URL=restored)
    await nats_server.kill()
    shutil.rmtree(nats_server.data_dir / "jetstream")
    await nats_server.start()
    await ours.start()
    await ours.whole(epoch=2)

    # A new password while everything runs.
    run("postgres-password", tmp_path, **admin, NEW_PASSWORD="it's new")
    await ours.stop()
    place = restored.rpartition("@")[2]
    ours.url = f"postgresql://ssmd:it%27s%20new@{place}"
    await ours.start()
    await ours.whole(epoch=2)
