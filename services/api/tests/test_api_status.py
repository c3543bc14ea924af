"""GET /v1/status: what the services said, and nothing asked of them."""

from typing import Any

from api_testbed import Client, make_key
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
