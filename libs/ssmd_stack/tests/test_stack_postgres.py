"""The embedded PostgreSQL's own promises."""

import psutil
import psycopg

from ssmd_stack.postgres import PostgresServer
from ssmd_stack.process import is_alive


async def test_backend_that_outlives_its_postmaster_never_meets_the_next_one(
    private_postgres: PostgresServer,
) -> None:
    connection = await psycopg.AsyncConnection.connect(private_postgres.url)
    backend = psutil.Process(connection.info.backend_pid)
    # Stopped, it cannot notice that its postmaster died.
    backend.suspend()
    assert private_postgres.pid is not None
    psutil.Process(private_postgres.pid).kill()
    await private_postgres.wait()
    assert is_alive(backend)
    await private_postgres.start()
    assert not is_alive(backend)
    await connection.close()
