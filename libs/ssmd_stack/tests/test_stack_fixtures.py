"""The promises that every other test suite builds on."""

import asyncio
import contextlib

import nats
import psycopg
import pytest
import redis.asyncio

from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.valkey import ValkeyServer


async def test_database_is_migrated_and_owned_by_a_plain_role(database: Database) -> None:
    async with database.connect() as connection:
        found = await connection.execute(
            "SELECT rolsuper, rolreplication, rolcreaterole,"
            " (SELECT datdba = r.oid FROM pg_database WHERE datname = current_database()),"
            " current_setting('wal_level'), to_regclass('markets') IS NOT NULL,"
            " (SELECT count(*) FROM markets)"
            " FROM pg_roles r WHERE rolname = current_user"
        )
        assert await found.fetchone() == (False, True, False, True, "logical", True, 0)


@pytest.mark.parametrize("turn", [1, 2])
async def test_databases_share_nothing(database: Database, turn: int) -> None:
    async with database.connect() as connection:
        await connection.execute("INSERT INTO series (ticker) VALUES ('KX')")
        found = await connection.execute("SELECT count(*) FROM series")
        assert await found.fetchone() == (1,), turn


async def test_teardown_drops_a_slot_that_is_in_use(postgres_server: PostgresServer) -> None:
    from ssmd_stack.database import new_database

    async with new_database(postgres_server) as database, contextlib.AsyncExitStack() as stack:
        connection = await psycopg.AsyncConnection.connect(
            database.url, replication="database", autocommit=True
        )
        stack.push_async_callback(connection.close)
        connection.pgconn.send_query(
            b"CREATE_REPLICATION_SLOT busy LOGICAL pgoutput NOEXPORT_SNAPSHOT"
        )
        while connection.pgconn.get_result():
            pass
        connection.pgconn.send_query(
            b"START_REPLICATION SLOT busy LOGICAL 0/0"
            b" (proto_version '1', publication_names 'secmaster_cdc')"
        )
        assert connection.pgconn.get_result() is not None
        name = database.name
        stack.pop_all()  # the slot stays in use while the database goes
    async with await psycopg.AsyncConnection.connect(postgres_server.admin_url) as admin:
        found = await admin.execute(
            "SELECT (SELECT count(*) FROM pg_database WHERE datname = %s),"
            " (SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'busy')",
            (name,),
        )
        assert await found.fetchone() == (0, 0)
    await connection.close()


async def test_killed_postgres_keeps_what_was_committed(private_postgres: PostgresServer) -> None:
    async with await psycopg.AsyncConnection.connect(
        private_postgres.url, autocommit=True
    ) as connection:
        await connection.execute("INSERT INTO series (ticker) VALUES ('KX')")
        await private_postgres.kill()
    assert not private_postgres.running
    await private_postgres.start()
    async with await psycopg.AsyncConnection.connect(private_postgres.url) as connection:
        found = await connection.execute("SELECT ticker, current_setting('fsync') FROM series")
        assert await found.fetchall() == [("KX", "on")]


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_nats_comes_back_on_the_same_port_with_its_store(
    nats_server: NatsServer, end: str
) -> None:
    url = nats_server.url
    client = await nats.connect(url)
    await client.jetstream(timeout=60).add_stream(name="S", subjects=["s.>"])
    await client.jetstream(timeout=60).publish("s.a", b"1")
    await client.close()
    await getattr(nats_server, end)()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", nats_server.port)
    await nats_server.start()
    client = await nats.connect(url)
    assert (await client.jetstream(timeout=60).get_last_msg("S", "s.a")).data == b"1"
    await client.close()


async def test_valkey_comes_back_on_the_same_port_empty(valkey_server: ValkeyServer) -> None:
    async with redis.asyncio.from_url(valkey_server.url) as client:
        await client.set("a", "1")
    await valkey_server.kill()
    await valkey_server.start()
    async with redis.asyncio.from_url(valkey_server.url) as client:
        assert await client.get("a") is None
