"""Every service with the rights that are written down and no others, on real servers."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio as aioredis
from least_rights import Roles, acl_users, roles, settings_of, users
from topology import PATIENCE_SECONDS, Service, Topology, execute, topology

from ssmd_common.apikeys import generate
from ssmd_common.granting import nats_permissions
from ssmd_common.parts import SERVICES
from ssmd_common.rights import RIGHTS, NatsRights
from ssmd_stack import forked
from ssmd_stack.database import Database
from ssmd_stack.nats import NatsServer
from ssmd_stack.servers import stack_kind
from ssmd_stack.valkey import ValkeyServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
async def nats_of_users(tmp_path: Path) -> AsyncIterator[NatsServer]:
    if stack_kind() != "embedded":
        pytest.skip("users are made: the servers must be the test's own")
    async with NatsServer(tmp_path / "nats", options=users()) as server:
        yield server


@pytest.fixture
async def least(database: Database, nats_of_users: NatsServer) -> AsyncIterator[Roles]:
    async with roles(database) as made:
        yield made


@pytest.fixture
async def services(
    nats_of_users: NatsServer, valkey_server: ValkeyServer, tmp_path: Path
) -> AsyncIterator[Topology]:
    await acl_users(valkey_server.url)
    async with topology(nats_of_users, valkey_server, tmp_path) as made:
        yield made


async def test_a_whole_round_with_the_rights_that_are_written_down(
    services: Topology,
    least: Roles,
    database: Database,
    nats_of_users: NatsServer,
    valkey_server: ValkeyServer,
) -> None:
    """Read from the exchange, published, cached, patrolled, reconciled, verified, made anew, and
    told to a reader who joins a snapshot to the stream."""
    key = generate("test")
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO api_keys (name, key_prefix, key_hash, scopes, rate_limit_per_minute)"
            " VALUES ('test', %s, %s, '{read,admin}', 100000)",
            (key.prefix, key.hash),
        )
    started = {
        name: await services.start(
            name,
            least.url(name),
            **settings_of(name, nats_of_users, valkey_server.url),
            CACHE_PATROL_SECONDS="1",
            CACHE_RECONCILE_SECONDS="2",
        )
        for name in SERVICES
    }
    for service in started.values():
        await service.ready()
    api = started["api"]
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{api.environment['API_PORT']}", headers={"X-API-Key": key.text}
    ) as http:
        market = await first_market(http)
        await joined(http, database)
        assert (await http.get("/v1/status")).status == 200
        assert (await http.get("/v1/stats/sync")).status == 200
        made = await http.post("/v1/keys", json={"name": "other"})
        assert made.status == 201, await made.text()
        for asked in ("/v1/sync/everything", "/v1/cache/verify"):
            await answered(http, asked)
        assert (await http.get(f"/v1/markets/{market}")).status == 200
    for command in ("verify", "rebuild", "verify"):
        done = await run(started["cache"], "cache", command)
        assert done.returncode == 0, done.stdout + done.stderr
    done = await run(started["cdc"], "cdc", "status")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, service in started.items():
        done = await run(service, "doctor", "--json", "--service", name)
        findings = json.loads(done.stdout)
        assert done.returncode == 0, findings
        assert {finding["what"] for finding in findings if finding["mend"]} <= {"migrations"}
        await service.ready()
        said = service.log.read_text()
        for word in ("ermission", "may not", "denied", "NOPERM", "Traceback"):
            assert word not in said, (service.name, said[-3000:])
        _, document = await service.readiness()
        assert not set(document["degraded"]) - {"service_status"}, document
        assert service.codes == []
    # Nor did anyone try what it may not do and go on.
    assert "Violation" not in nats_of_users.log.read_text()


async def answered(http: aiohttp.ClientSession, path: str) -> None:
    """A request to a service, which does it."""
    async with http.post(path) as reply:
        assert reply.status == 202, await reply.text()
        place = reply.headers["Location"]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with http.get(place) as reply:
                row = await reply.json()
                if row["finished_at"]:
                    assert row["state"] == "done", row
                    return
            await asyncio.sleep(0.1)


async def first_market(http: aiohttp.ClientSession) -> str:
    """The ticker of some market, once there are any."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with http.get("/v1/markets?limit=1") as reply:
                assert reply.status == 200, await reply.text()
                if markets := (await reply.json())["markets"]:
                    return str(markets[0]["ticker"])
            await asyncio.sleep(0.1)


async def joined(http: aiohttp.ClientSession, database: Database) -> None:
    """A snapshot, and the change that comes after it."""
    async with http.get("/v1/snapshot?tables=series") as snapshot:
        assert snapshot.status == 200, await snapshot.text()
        head = json.loads((await snapshot.read()).splitlines()[0])
    await execute(
        database.url,
        "UPDATE series SET title = 'told' WHERE ticker = (SELECT min(ticker) FROM series)",
    )
    async with http.get(f"/v1/changes?after={head['sequence']}") as changes:
        assert changes.status == 200, await changes.text()
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in changes.content:
                if b'"told"' in line:
                    return
    raise AssertionError("the change was not told")


async def run(service: Service, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command as the service's user."""
    return await asyncio.to_thread(forked.run, "ssmd_cli", *words, env=service.environment)


async def test_rights_that_are_taken_away_and_given_back_while_they_run(
    services: Topology,
    least: Roles,
    nats_of_users: NatsServer,
    valkey_server: ValkeyServer,
) -> None:
    """Each is told in the service's own readiness, and none has to be started again."""
    started = {
        name: await services.start(
            name, least.url(name), **settings_of(name, nats_of_users, valkey_server.url)
        )
        for name in ("cdc", "cache", "api")
    }
    for service in started.values():
        await service.ready()
    cache = started["cache"]
    # The consumer is asked for more, and acknowledged to, only while something comes.
    busy = asyncio.create_task(writing(least.database))
    try:
        for pattern in ("$JS.API.CONSUMER.MSG.NEXT.SECMASTER_CDC.*", "$JS.ACK.SECMASTER_CDC.>"):
            await nats_of_users.reload(without("cache", pattern))
            await cache.says(f"the NATS user cache may not publish to {pattern}: grant it")
            await nats_of_users.reload(users())
            await cache.ready()
    finally:
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
    async with aioredis.Redis.from_url(valkey_server.url) as admin:
        for command in ("evalsha", "hlen"):
            await admin.execute_command("ACL", "SETUSER", "cache", f"-{command}")
            await cache.says(f"may not run {command}: ACL SETUSER cache +{command};")
            await admin.execute_command("ACL", "SETUSER", "cache", f"+{command}")
            await cache.ready()
        await admin.execute_command("ACL", "SETUSER", "cache", "resetkeys")
        await cache.says("may not use the keys secmaster:*")
        await admin.execute_command("ACL", "SETUSER", "cache", "~secmaster:*")
        await cache.ready()
        api = started["api"]
        await admin.execute_command("ACL", "SETUSER", "api", "-ping")
        await api.until(lambda _, said: "+ping" in str(said["degraded"].get("redis")), "degraded")
        await admin.execute_command("ACL", "SETUSER", "api", "+ping")
        await api.until(lambda _, said: "redis" not in said["degraded"], "well")
    for service in started.values():
        assert service.codes == []


async def writing(database: Database) -> None:
    async with database.connect() as connection:
        number = 0
        while True:
            number += 1
            await connection.execute("INSERT INTO series (ticker) VALUES (%s)", (f"W{number}",))
            await asyncio.sleep(0.05)


def without(service: str, pattern: str) -> dict[str, Any]:
    """Options by which the service may do everything but this."""
    rights = RIGHTS[service].nats
    assert rights is not None
    left = [each for each in rights.publish if each.pattern != pattern]
    return users(**{service: nats_permissions(NatsRights(left))})
