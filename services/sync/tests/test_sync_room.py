"""PostgreSQL's disk is full: its fault, said so, and over by itself when there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ssmd_common.exitcodes import ExitCode
from ssmd_stack.postgres import PostgresServer
from ssmd_store.pages import Store


@pytest.fixture
def small_disk(private_postgres: Any, tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB that the server may write to."""
    if not isinstance(private_postgres, PostgresServer):
        pytest.skip("the server's disk is not ours")
    data = Path(private_postgres.home) / "data"
    folder = Path(private_postgres.home) / "small-disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    try:
        ran = subprocess.run(mount, check=False, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if ran.returncode:
        pytest.skip(f"no file system can be mounted here: {ran.stderr.strip()}")
    try:
        tables = folder / "tables"
        tables.mkdir()
        os.chown(tables, data.stat().st_uid, data.stat().st_gid)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Leave no room at all."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65536)
                file.flush()
        except OSError:
            pass
    return ballast


async def test_a_full_disk_is_postgresqls_fault_and_passes(
    private_postgres: Any, small_disk: Path, exchange: Any, new_sync: Any
) -> None:
    async with await psycopg.AsyncConnection.connect(
        private_postgres.admin_url_of(private_postgres.database), autocommit=True
    ) as admin:
        await admin.execute(f"CREATE TABLESPACE small LOCATION '{small_disk / 'tables'}'")  # type: ignore[arg-type]
        await admin.execute("ALTER TABLE markets SET TABLESPACE small")
    ballast = fill(small_disk)
    async with await psycopg.AsyncConnection.connect(
        private_postgres.url, autocommit=True
    ) as connection:
        sync = new_sync(await Store.on(connection), exchange.url)
        report = await sync()
        assert (report.outcome, report.exit_code) == ("failed", ExitCode.UPSTREAM)
        assert report.error.startswith("PostgreSQL has no room: could not extend file")
        [run] = await sync.rows("SELECT outcome, error, unread FROM sync_runs")
        assert run == {"outcome": "failed", "error": report.error, "unread": None}
        assert not await sync.rows("SELECT * FROM sync_watermarks")
        ballast.unlink()
        assert (await sync()).outcome == "ok"
        assert await sync.rows("SELECT 1 FROM markets LIMIT 1")


async def test_a_run_that_cannot_even_be_recorded_says_so(
    private_postgres: Any, small_disk: Path, exchange: Any, new_sync: Any
) -> None:
    async with await psycopg.AsyncConnection.connect(
        private_postgres.admin_url_of(private_postgres.database), autocommit=True
    ) as admin:
        await admin.execute(f"CREATE TABLESPACE small LOCATION '{small_disk / 'tables'}'")  # type: ignore[arg-type]
        await admin.execute("ALTER TABLE sync_runs SET TABLESPACE small")
    ballast = fill(small_disk)
    async with await psycopg.AsyncConnection.connect(
        private_postgres.url, autocommit=True
    ) as connection:
        sync = new_sync(await Store.on(connection), exchange.url)
        report = await sync()
        assert (report.outcome, report.recorded) == ("failed", False)
        assert report.error.startswith("PostgreSQL has no room")
        ballast.unlink()
        report = await sync()
        assert (report.outcome, report.recorded) == ("ok", True)
