"""Whether PostgreSQL takes new sessions, of real servers and of silent ones."""

import asyncio
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import psycopg
import pytest
from certificates import Authority
from psycopg.conninfo import conninfo_to_dict

from ssmd_common.connections.accepting import refuses_sessions


async def test_a_silent_server_holds_nothing_else_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        turning = asyncio.create_task(turn())
        server = {"host": "127.0.0.1", "port": silent.getsockname()[1]}
        assert not await refuses_sessions(server, 0.3)
        turning.cancel()
    assert turns > 5


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"NE\xff\xff\xff\xff", b"NE\x7f\xff\xff\xff", b"NE\0\0"],
    ids=["HTTP", "a negative length", "an endless one", "half of one"],
)
async def test_a_server_that_is_not_there_or_is_another_refuses_nothing(said: bytes) -> None:
    async def babble(reader: Any, writer: Any) -> None:
        writer.write(said)
        writer.close()

    other = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    assert not await refuses_sessions({"host": "127.0.0.1", "port": port}, 5)
    other.close()
    assert not await refuses_sessions({"host": "127.0.0.1", "port": port}, 5)
    assert not await refuses_sessions({"host": "/nowhere", "port": port}, 5)


async def test_a_server_on_a_socket_is_asked_there(tmp_path: Path) -> None:
    """The servers of these tests have none, so this one only speaks as PostgreSQL does."""
    heard: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(4), "big")
        heard.append(await reader.readexactly(length - 4))
        body = b"SFATAL\0C57P03\0Mthe database system is shutting down\0\0"
        writer.write(b"E" + (len(body) + 4).to_bytes(4, "big") + body)
        writer.close()

    server = await asyncio.start_unix_server(refuse, tmp_path / ".s.PGSQL.5433")
    where = {"host": str(tmp_path), "port": "5433", "user": "u", "dbname": "d"}
    assert await refuses_sessions(where, 60)
    assert heard == [b"\0\3\0\0user\0u\0database\0d\0\0"]
    server.close()


@pytest.mark.parametrize("over", ["TCP", "TLS"])
@pytest.mark.embedded
async def test_a_server_that_shuts_down_refuses(
    private_postgres: Any, over: str, tmp_path: Path
) -> None:
    """In smart mode it waits for its sessions, and only that it takes no new ones shows it."""
    server = conninfo_to_dict(private_postgres.url)
    async with await psycopg.AsyncConnection.connect(private_postgres.url, autocommit=True) as db:
        if over == "TLS":
            await speak_tls(private_postgres, tmp_path)
        assert not await refuses_sessions(server, 60)
        os.kill(private_postgres.pid, signal.SIGTERM)
        async with asyncio.timeout(180):
            while not await refuses_sessions(server, 60):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await (await db.execute("SELECT 1")).fetchone() == (1,)


async def speak_tls(server: Any, directory: Path) -> None:
    files = Authority().issue(directory, "server")
    owner = server.data_dir.stat()
    for file, name in zip(files, ("server.crt", "server.key"), strict=True):
        kept = Path(shutil.copy(file, server.data_dir / name))
        os.chmod(kept, 0o600)  # noqa: PTH101
        os.chown(kept, owner.st_uid, owner.st_gid)
    async with await psycopg.AsyncConnection.connect(server.admin_url, autocommit=True) as db:
        row = await (await db.execute("SHOW ssl_library")).fetchone()
        if not row or not row[0]:
            pytest.skip("this PostgreSQL has no TLS")
        await db.execute("ALTER SYSTEM SET ssl = on")
        await db.execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(180):
        while not await speaks_tls(server.url):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def speaks_tls(url: str) -> bool:
    try:
        connection = await psycopg.AsyncConnection.connect(url, sslmode="require")
    except psycopg.OperationalError:
        return False
    await connection.close()
    return True
