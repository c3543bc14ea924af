"""A standby is promoted while the old primary takes writes: every service leaves the old one."""

import asyncio
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from topology import PATIENCE_SECONDS, Topology

from ssmd_common.parts import SERVICES
from ssmd_stack.postgres import PostgresServer
from ssmd_stack.proxy import TcpProxy
from ssmd_stack.standby import promote, standby_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OURS = "SELECT array_agg(DISTINCT application_name) FROM pg_stat_activity WHERE usename = 'ssmd'"
READY = (
    "SELECT array_agg(DISTINCT service ORDER BY service) FROM service_status"
    " WHERE ready AND timeline = 2 AND updated_at > clock_timestamp() - interval '10 s'"
)


async def until(url: str, query: str, wanted: Any) -> None:
    """Until the query's value is what is wanted."""
    found = None
    try:
        async with (
            await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
            asyncio.timeout(PATIENCE_SECONDS),
        ):
            while True:
                row = await (await connection.execute(query)).fetchone()  # type: ignore[arg-type]
                found = row and row[0]
                if found == wanted:
                    return
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"{query}: {found}, not {wanted}") from None


@pytest.mark.parametrize("way", ["moved-address", "several-hosts"])
async def test_every_service_leaves_an_old_primary_that_lives(
    primary: PostgresServer, services: Topology, scratch: Path, way: str
) -> None:
    async with (
        standby_of(primary, scratch / f"standby-{secrets.token_hex(4)}") as standby,
        TcpProxy(primary.url) as address,
    ):
        url = address.url
        if way == "several-hosts":
            # The old one is the first, which libpq would take.
            port = urlsplit(primary.url).port
            url = primary.url.replace(f":{port}/", f":{port},127.0.0.1:{standby.port}/")
        started = await services.start_all(url, restarts=True)
        for service in started:
            await service.ready()
        await promote(standby)
        address.lead_to(standby.url)
        await until(standby.url, READY, sorted(SERVICES))
        await until(primary.admin_url, OURS, None)
        for service in started:
            await service.ready()
        await until(standby.url, "SELECT (epoch, timeline)::text FROM cdc_state", "(2,2)")
        await services.close()
