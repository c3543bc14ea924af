"""GET /v1/status: what the services said, and nothing asked of them."""

from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

from api_testbed import Client, make_key
from api_universe import NOW, insert
from pydantic import SecretStr
from test_api_openapi import assert_described

from ssmd_common.health import Health
from ssmd_common.parts import SERVICES
from ssmd_common.reporter import reporting
from ssmd_stack.database import Database


async def test_each_part_and_the_whole(api: Client, database: Database) -> None:
    nothing = await api.ok("/v1/status")
    assert_described("GET", "/v1/status", 200, nothing)
    assert not nothing["ready"]
    assert list(nothing["services"]) == list(SERVICES)
    assert nothing["services"]["cdc"]["state"] == "unknown"
    assert nothing["current_as_of"] is None
    assert nothing["incomplete_why"] == "no full sync has succeeded yet"

    health = Health("cdc")
    health.set("slot", None)
    health.state = "leading"
    health.degrade("disk", "NATS is nearly full")
    health.position |= {"stream_sequence": 42}
    health.lag_seconds = 0.25
    async with reporting(health, SecretStr(database.url)):
        while (found := await api.ok("/v1/status"))["services"]["cdc"]["state"] == "unknown":
            pass
    cdc: Any = found["services"]["cdc"]
    assert_described("GET", "/v1/status", 200, found)
    assert (cdc["state"], cdc["ready"], cdc["lag_seconds"]) == ("leading", True, 0.25)
    assert cdc["note"] == "disk: NATS is nearly full"
    assert cdc["position"] == {"stream_sequence": 42}
    assert found["legs"]["stream"]["as_of"] is not None
    assert found["legs"]["stream"]["position"] == {"stream_sequence": 42}
    assert "cdc: disk: NATS is nearly full" in found["problems"]
    assert cdc["age_seconds"] < 15
    reply = await api.get("/v1/status")
    assert reply.headers["Cache-Control"] == "no-store"


async def test_one_sentence_says_how_current_and_how_complete_the_whole_is(
    api: Client, database: Database
) -> None:
    async with database.connect() as connection:
        await insert(connection, "sync_runs", job="j", scope={}, outcome="ok", finished_at=NOW)
    async with AsyncExitStack() as stack:
        for name in SERVICES:
            health = Health(name)
            health.set("postgres", None)
            health.lag_seconds = 0.5
            health.position["listening"] = True
            if name == "cache":
                health.lag_seconds = 1000.0
                health.set("lag", "1000 s behind")
            await stack.enter_async_context(reporting(health, SecretStr(database.url)))
        found = await api.ok("/v1/status")
        while any(part["state"] == "unknown" for part in found["services"].values()):
            found = await api.ok("/v1/status")
        cache = found["services"]["cache"]
        assert (cache["ready"], cache["lag_seconds"]) == (False, 1000.0)
        assert cache["reasons"] == {"lag": "1000 s behind"}
        # The least current leg counts.
        as_of = datetime.fromisoformat(found["current_as_of"])
        assert found["current_as_of"] == found["legs"]["redis"]["as_of"]
        now = datetime.fromisoformat(found["now"])
        assert 990 < (now - as_of).total_seconds() < 1100
        current = f"current as of {as_of:%Y-%m-%d %H:%M:%S} UTC"
        assert found["sentence"] == f"{current}, complete since {NOW:%Y-%m-%d %H:%M:%S} UTC"
        async with database.connect() as connection:
            await insert(connection, "lifecycle_gaps", reason="disconnect", began_at=NOW)
        found = await api.ok("/v1/status")
        since = f"incomplete since {NOW:%Y-%m-%d %H:%M:%S} UTC"
        assert f"{since}: a gap (disconnect) is not repaired yet" in found["sentence"]
        assert_described("GET", "/v1/status", 200, found)


async def test_it_needs_a_key_that_reads(api: Client, database: Database) -> None:
    admin = await make_key(database, "admin")
    assert (await api.get("/v1/status", headers={"X-API-Key": admin})).status == 403
    assert (await api.get("/v1/status", headers={"X-API-Key": "sk_no"})).status == 401


async def test_without_the_table_it_says_what_to_do(api: Client, database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("DROP TABLE service_status")
    reply = await api.get("/v1/status")
    assert reply.status == 503
    assert "ssmd db migrate" in reply.json["detail"]
